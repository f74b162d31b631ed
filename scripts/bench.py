#!/usr/bin/env python3
"""Measures the data plane against other tunnels and the plain veth pair under all of them, by turns, and prints tables and JSON.

Both ends of each tunnel and of iperf3 share the machine's processors, so ratios within one run say more than absolute figures; beside each
stands the share of the processors that was idle meanwhile. Figures are medians over the rounds. What cannot be had on this machine, or what
the agent does not know yet, is left out, and the run says why.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bench import contenders, impaired, measures, micro, programs, report  # noqa: E402
from testbed import INSIDE, IdleCpu, NotInTime, enter  # noqa: E402

#: Environment variable in which the part of the script outside the namespaces, which has a network, hands over to the one inside.
PREPARED = "TUNMESH_BENCH_PREPARED"


def main() -> None:
    options = arguments()
    if not os.environ.get(INSIDE):
        os.environ[PREPARED] = json.dumps(prepare(options))
    enter()
    prepared = json.loads(os.environ[PREPARED])
    skipped: dict[str, str] = prepared["skipped"]
    pairs = start_all([name for name in options.only if name not in skipped], prepared["programs"], skipped)
    try:
        document = measure(pairs, options)
    finally:
        for pair in pairs.values():
            pair.remove()
    document["impaired"] = impaired_figures(list(pairs), prepared["programs"], options, document["failures"])
    document |= {"skipped": skipped, "micro": prepared["micro"], "versions": programs.VERSIONS, "machine": machine()}
    document["targets"] = report.judged(document["medians"])
    print_report(document, list(pairs))
    if options.json:
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
    if options.check and any(target["met"] is False for target in document["targets"]):
        sys.exit(1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True, help="the agent, target/release/tunmesh")
    parser.add_argument("--only", type=names, default=list(contenders.CONTENDERS), metavar="A,B", help=f"some, or '' for none, of {', '.join(contenders.CONTENDERS)}")
    parser.add_argument("--ceiling", metavar="SOURCE.rs", help="prototype program that shows what the machine allows at best")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each throughput measurement")
    parser.add_argument("--quick", action="store_true", help="one round of 1 s measurements, about two minutes")
    parser.add_argument("--impaired", metavar="EMULATOR", help="also measure over links with loss and delay, made by that program, tunmesh-emulator")
    parser.add_argument("--micro", action="store_true", help="also run the micro benchmarks of the packet path")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target that was measured is missed")
    parser.add_argument("--json", metavar="FILE", help="write every run there")
    options = parser.parse_args()
    for file in filter(None, (options.bin, options.impaired)):
        if not os.access(file, os.X_OK):
            parser.error(f"no program {file}")
    if options.quick:
        options.rounds, options.seconds = 1, 1
    return options


def names(text: str) -> list[str]:
    chosen = [name for name in text.split(",") if name]
    if unknown := [name for name in chosen if name not in contenders.CONTENDERS]:
        raise argparse.ArgumentTypeError(f"no contender {unknown[0]!r}")
    return chosen


def prepare(options: argparse.Namespace) -> dict[str, dict]:
    """What needs a network or builds: the programs of the contenders, why some are left out, and the micro benchmarks' figures."""
    paths, skipped = {"agent": str(Path(options.bin).resolve())}, {}
    for name in options.only:
        for needed in contenders.CONTENDERS[name].programs:
            try:
                paths[needed] = paths.get(needed) or programs.program(needed, options.ceiling)
            except programs.Unavailable as reason:
                skipped[name] = f"{needed}: {reason}"
    return {"programs": paths, "skipped": skipped, "micro": micro.micro_benchmarks(skipped) if options.micro else {}}


def start_all(chosen: list[str], paths: dict[str, str], skipped: dict[str, str]) -> dict[str, contenders.Pair]:
    pairs = {}
    for name in chosen:
        try:
            pairs[name] = contenders.start(name, [paths[program] for program in contenders.CONTENDERS[name].programs])
        except (contenders.NotStarted, NotInTime) as reason:
            skipped[name] = str(reason)
    return pairs


def measure(pairs: dict[str, contenders.Pair], options: argparse.Namespace) -> dict[str, object]:
    runs = {key: {name: [] for name in pairs} for key in measures.MEASURES}
    failures, idle_before = [], []
    for turn in range(options.rounds):
        with IdleCpu() as cpu:
            time.sleep(1)
        idle_before.append(cpu.share)
        for key, one in measures.MEASURES.items():
            for name, pair in pairs.items():
                try:
                    runs[key][name].append(one.take(pair, options.seconds))
                except (*measures.FAILURES, NotInTime) as error:
                    failures.append(f"{name}, {one.title}: {error!r}")
        failures += [f"{name}, after round {turn + 1}: {stray}" for name, pair in pairs.items() if (stray := pair.strayed())]
        print(f"bench: round {turn + 1} of {options.rounds} done", file=sys.stderr)
    return {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "idle_cpu_before_rounds": idle_before,
        "medians": report.medians(runs),
        "memory_mb": {name: pair.resident_mb() for name, pair in pairs.items()},
        "failures": failures,
        "runs": runs,
    }


def impaired_figures(chosen: list[str], paths: dict[str, str], options: argparse.Namespace, failures: list[str]) -> dict[str, dict]:
    if not options.impaired:
        return {}
    emulator = str(Path(options.impaired).resolve())
    return impaired.impaired(chosen, paths, emulator, options.rounds, options.seconds, failures)


def machine() -> dict[str, object]:
    model = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {"processors": os.cpu_count(), "model": (model or ["unknown"])[0], "kernel": os.uname().release}


def print_report(document: dict, chosen: list[str]) -> None:
    here = document["machine"]
    print(f"{here['processors']} processors ({here['model']}), kernel {here['kernel']}; medians of {document['rounds']} rounds of {document['seconds']} s;", end=" ")
    print(f"processors idle before the rounds: {', '.join(f'{share:.0%}' for share in document['idle_cpu_before_rounds'])}\n")
    if chosen:
        print(report.tables(document["medians"], document["memory_mb"], chosen))
    if document["impaired"]:
        print(f"\n{report.impaired_table(document['impaired'], list(impaired.IMPAIRMENTS))}")
    if document["micro"]:
        print(f"\n{report.micro_table(document['micro'])}")
    print(f"\n{report.target_table(document['targets'])}")
    for name, reason in document["skipped"].items():
        print(f"\n{name} left out: {reason}")
    for failure in document["failures"]:
        print(f"\nto note: {failure}")


main()
