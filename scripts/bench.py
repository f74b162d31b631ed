#!/usr/bin/env python3
"""Measures the v0 path between two agents against the plain veth pair under it, interleaved, and prints a table and JSON.

Both ends, both agents and iperf3 share the machine's processors. TCP runs with cubic. Figures are medians over the rounds.
"""

import argparse
import json
import os
import statistics
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from testbed import IdleCpu, Testbed, enter, iperf  # noqa: E402


def tcp(one, other, address, seconds, *options):
    agents = [node for node in (one, other)]
    before = [node.cpu_seconds() for node in agents]
    with IdleCpu() as cpu:
        document = iperf(one, other, address, "-C", "cubic", *options, seconds=seconds)
    spent = sum(node.cpu_seconds() - then for node, then in zip(agents, before))
    received = document["end"]["sum_received"]
    return {
        "mbit_per_s": received["bits_per_second"] / 1e6,
        "retransmits": document["end"]["sum_sent"].get("retransmits", 0),
        "agent_cpu_s_per_gb": spent / (received["bytes"] / 1e9),
        "idle_cpu": cpu.share,
    }


def udp(one, other, address, seconds, rate):
    with IdleCpu() as cpu:
        # Socket buffers of 2 MB, so that a receiver that waits for its processor does not count as loss of the path.
        document = iperf(one, other, address, "-u", "-l", "1200", "-b", f"{rate}M", "-w", "2M", seconds=seconds)
    summary = document["end"]["sum"]
    return {"mbit_per_s": summary["bits_per_second"] / 1e6, "lost_percent": summary["lost_percent"], "idle_cpu": cpu.share}


def rtt(one, address, count):
    with IdleCpu() as cpu:
        lines = one.ns("ping", "-n", "-i", "0.002", "-c", str(count), address).splitlines()
    times = sorted(float(line.split("time=")[1].split()[0]) for line in lines if "time=" in line)
    return {"p50_ms": times[len(times) // 2], "p99_ms": times[len(times) * 99 // 100], "lost": count - len(times), "idle_cpu": cpu.share}


def drops(node):
    return node.status()["drops"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="write the JSON document there instead of after the table")
    options = parser.parse_args()
    enter()
    bed = Testbed(3, options.bin)
    bed.start()
    one, other = bed.nodes[0], bed.nodes[2]

    measures = {
        "TCP, 1 stream": lambda address: tcp(one, other, address, options.seconds),
        "TCP, 1 stream, reverse": lambda address: tcp(one, other, address, options.seconds, "-R"),
        "TCP, 4 streams": lambda address: tcp(one, other, address, options.seconds, "-P", "4"),
        "UDP 1200 B at 400 Mbit/s": lambda address: udp(one, other, address, options.seconds, 400),
        "round trip, idle": lambda address: rtt(one, address, 500),
    }
    results = {name: {"veth": [], "v0": []} for name in measures}
    dropped_before = drops(one)
    for turn in range(options.rounds):
        for name, measure in measures.items():
            for path, address in (("veth", other.underlay), ("v0", other.overlay)):
                results[name][path].append(measure(address))
        print(f"round {turn + 1} of {options.rounds} done", file=sys.stderr)

    medians = {
        name: {path: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for path, runs in paths.items()}
        for name, paths in results.items()
    }
    document = {
        "medians": medians,
        "runs": results,
        "drops_before": dropped_before,
        "drops": {node.name: drops(node) for node in (one, other)},
        "resident_mb": {node.name: node.resident_mb() for node in bed.nodes},
        "processors": os.cpu_count(),
        "kernel": os.uname().release,
    }
    print("| measure | veth | v0 | ratio | idle CPU (veth, v0) | more |")
    print("|---|---|---|---|---|---|")
    for name, paths in medians.items():
        veth, mesh = paths["veth"], paths["v0"]
        key, unit = ("p50_ms", "ms") if "p50_ms" in mesh else ("mbit_per_s", "Mbit/s")
        more = ", ".join(f"{other_key} {value:.3g}" for other_key, value in mesh.items() if other_key not in (key, "idle_cpu"))
        ratio = mesh[key] / veth[key]
        print(f"| {name} | {veth[key]:.3g} {unit} | {mesh[key]:.4g} {unit} | {ratio:.3g} | {veth['idle_cpu']:.0%}, {mesh['idle_cpu']:.0%} | {more} |")
    print(f"\nresident memory: {', '.join(f'{name} {mb:.1f} MB' for name, mb in document['resident_mb'].items())}; drops: {document['drops']}")
    text = json.dumps(document, indent=1)
    if options.json:
        with open(options.json, "w") as file:
            file.write(text)
    else:
        print(text)


main()
