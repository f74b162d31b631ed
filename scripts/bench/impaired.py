"""The contenders over a link as bad as the internet's, which the program `tunmesh-emulator` makes between two namespaces."""

import select
import statistics
import subprocess

from bench import contenders
from bench.measures import FAILURES, Sample, round_trip, tcp
from testbed import Namespace, NotInTime

#: What the emulator is told, by the title of the column; loss and delay are each way.
IMPAIRMENTS = {
    "none": {},
    "1 % loss": {"loss": "1"},
    "5 % loss": {"loss": "5"},
    "50 ms delay each way": {"delay": "50"},
}
#: Seconds the emulator may take to answer.
ANSWER_LIMIT = 10


class WideAreaLink:
    """A link made by the emulator; `contenders.Link` by being called."""

    def __init__(self, emulator: str) -> None:
        self.emulator = emulator
        self.process: subprocess.Popen | None = None

    def __call__(self, one: Namespace, other: Namespace) -> None:
        ends = [["--netns-" + end, f"/run/netns/{space.name}", "--address-" + end, f"{space.underlay}/24"] for end, space in (("a", one), ("b", other))]
        self.process = subprocess.Popen([self.emulator, *ends[0], *ends[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.expect("ready")

    def set(self, settings: dict[str, str]) -> None:
        for name, value in {"loss": "0", "delay": "0", **settings}.items():
            self.process.stdin.write(f"set {name} {value}\n")
            self.process.stdin.flush()
            self.expect("ok")

    def expect(self, answer: str) -> None:
        readable, _, _ = select.select([self.process.stdout], [], [], ANSWER_LIMIT)
        line = self.process.stdout.readline().strip() if readable else "nothing"
        if line != answer:
            raise contenders.NotStarted(f"the emulator answered {line!r} where {answer!r} was due")

    def close(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()


def impaired(names: list[str], paths: dict[str, str], emulator: str, rounds: int, seconds: int, failures: list[str]) -> dict[str, dict[str, Sample]]:
    """Median sample by contender and title of the impairment: TCP with one stream, and the round trip under no load."""
    return {name: over_all_impairments(name, paths, WideAreaLink(emulator), rounds, seconds, failures) for name in names}


def over_all_impairments(name: str, paths: dict[str, str], link: WideAreaLink, rounds: int, seconds: int, failures: list[str]) -> dict[str, Sample]:
    figures = {}
    pair = None
    try:
        pair = contenders.start(name, [paths[program] for program in contenders.CONTENDERS[name].programs], link)
        for title, settings in IMPAIRMENTS.items():
            link.set(settings)
            try:
                runs = [tcp(pair, seconds) | round_trip(pair, "0.002") for _ in range(rounds)]
                figures[title] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            except FAILURES as error:
                failures.append(f"{name}, {title}: {error!r}")
            if stray := pair.strayed():
                failures.append(f"{name}, {title}: {stray}")
    except (contenders.NotStarted, NotInTime, OSError) as reason:
        failures.append(f"{name}, impaired link: {reason}")
    finally:
        if pair:
            pair.remove()
        link.close()
    return figures
