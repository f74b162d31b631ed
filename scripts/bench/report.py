"""Medians, markdown tables and the comparison with the targets."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bench.measures import MEASURES, Sample

#: Median sample by measure and contender; a pair that could not be measured is absent.
Medians = dict[str, dict[str, Sample]]


def medians(runs: dict[str, dict[str, list[Sample]]]) -> Medians:
    return {
        measure: {name: {key: statistics.median(sample[key] for sample in samples) for key in samples[0]} for name, samples in contenders.items() if samples}
        for measure, contenders in runs.items()
    }


def tables(figures: Medians, memory: dict[str, list[float]], names: list[str]) -> str:
    parts = [
        table(["Gbit/s (idle CPU)", *titles("tcp_")], [[name, *(cell(figures, key, name) for key in keys("tcp_"))] for name in names]),
        table(["thousand packets/s (lost, idle CPU)", *titles("udp_")], [[name, *(udp_cell(figures, key, name) for key in keys("udp_"))] for name in names]),
        table(
            ["round trip, ms: average, median, 99 % (idle CPU)", *titles("rtt_")],
            [[name, *(rtt_cell(figures, key, name) for key in keys("rtt_"))] for name in names],
        ),
        table(
            ["cost", "CPU s/GB of both tunnel processes", "with 4 streams", "CPU s/GB of the machine", "with 4 streams", "memory of each end, MB"],
            [[name, *cost_cells(figures, name), ", ".join(f"{mb:.1f}" for mb in memory.get(name, [])) or "-"] for name in names],
        ),
    ]
    return "\n\n".join(parts)


def keys(prefix: str) -> list[str]:
    return [key for key in MEASURES if key.startswith(prefix)]


def titles(prefix: str) -> list[str]:
    return [MEASURES[key].title for key in keys(prefix)]


def cell(figures: Medians, measure: str, name: str) -> str:
    sample = figures[measure].get(name)
    return f"{sample[MEASURES[measure].figure]:.3g} ({sample['idle_cpu']:.0%})" if sample else "-"


def udp_cell(figures: Medians, measure: str, name: str) -> str:
    sample = figures[measure].get(name)
    return f"{sample['kilopackets_per_s']:.3g} ({sample['lost_percent']:.2g} %, {sample['idle_cpu']:.0%})" if sample else "-"


def rtt_cell(figures: Medians, measure: str, name: str) -> str:
    sample = figures[measure].get(name)
    if not sample:
        return "-"
    lost = f", {sample['lost']:.0f} lost" if sample["lost"] else ""
    return f"{sample['average_ms']:.3g}, {sample['p50_ms']:.3g}, {sample['p99_ms']:.3g} ({sample['idle_cpu']:.0%}{lost})"


def cost_cells(figures: Medians, name: str) -> list[str]:
    return [
        f"{sample[key]:.2f}" if (sample := figures[measure].get(name)) else "-"
        for key in ("tunnel_cpu_s_per_gb", "machine_cpu_s_per_gb")
        for measure in ("tcp_1", "tcp_4")
    ]


def impaired_table(figures: dict[str, dict[str, Sample]], titles: list[str]) -> str:
    head = ["TCP 1 stream, Mbit/s; round trip, ms: average, 99 % (pings lost)", *titles]
    return table(head, [[name, *(impaired_cell(samples.get(title)) for title in titles)] for name, samples in figures.items()])


def impaired_cell(sample: Sample | None) -> str:
    if not sample:
        return "-"
    return f"{sample['gbit_per_s'] * 1e3:.3g}; {sample['average_ms']:.3g}, {sample['p99_ms']:.3g} ({sample['lost']:.0f})"


def micro_table(micro: dict[str, float]) -> str:
    return table(["micro benchmark", "ns"], [[name, f"{nanoseconds:.4g}"] for name, nanoseconds in micro.items()])


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True)
class Target:
    """`value` looks the figure up; it must be at least, or at most, `limit`."""

    text: str
    value: Callable[[Medians], float]
    limit: float
    at_least: bool


def figure(figures: Medians, measure: str, name: str, key: str = "") -> float:
    return figures[measure][name][key or MEASURES[measure].figure]


def ratio(one: str, other: str) -> Callable[[Medians], float]:
    return lambda figures: figure(figures, "tcp_1", one) / figure(figures, "tcp_1", other)


def stream_where_veth_is_fast(figures: Medians) -> float:
    if figure(figures, "tcp_1", "veth") < 40:
        raise LookupError("veth below 40 Gbit/s")
    return figure(figures, "tcp_1", "tls-stream")


TARGETS = [
    Target("native / wireguard-go-current, TCP 1 stream", ratio("native", "wireguard-go-current"), 3, True),
    Target("native / ceiling, TCP 1 stream", ratio("native", "ceiling"), 0.75, True),
    Target("wireguard-suite / wireguard-go-current, TCP 1 stream", ratio("wireguard-suite", "wireguard-go-current"), 1.5, True),
    Target("tls-stream, TCP 1 stream, Gbit/s (where veth has 40 or more)", stream_where_veth_is_fast, 3, True),
    Target(
        "round trip native adds to veth, idle, average, us",
        lambda figures: (figure(figures, "rtt_idle", "native") - figure(figures, "rtt_idle", "veth")) * 1e3,
        90,
        False,
    ),
    Target("round trip of native under 4 streams, average, ms", lambda figures: figure(figures, "rtt_loaded", "native"), 2, False),
    Target("CPU s/GB of both native processes, TCP 1 stream", lambda figures: figure(figures, "tcp_1", "native", "tunnel_cpu_s_per_gb"), 1.0, False),
]


def judged(figures: Medians) -> list[dict[str, object]]:
    """Each target with its figure and `met`, or with neither where the run did not measure it."""
    return [judgement(target, figures) for target in TARGETS]


def judgement(target: Target, figures: Medians) -> dict[str, object]:
    try:
        value = target.value(figures)
    except LookupError:
        value = None
    met = None if value is None else value >= target.limit if target.at_least else value <= target.limit
    return {"target": target.text, "limit": target.limit, "at_least": target.at_least, "value": value, "met": met}


def target_table(judgements: list[dict[str, object]]) -> str:
    words = {None: "not measured", True: "met", False: "missed"}
    return table(["target", "limit", "measured", ""], [
        [
            one["target"],
            f"{'at least' if one['at_least'] else 'at most'} {one['limit']:g}",
            "-" if one["value"] is None else f"{one['value']:.3g}",
            words[one["met"]],
        ]
        for one in judgements
    ])
