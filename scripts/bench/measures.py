"""What is measured of a tunnel. Every measure also gives `idle_cpu`, the share of the machine's processors that was idle meanwhile."""

import re
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.contenders import Pair
from testbed import IdleCpu, IperfServer, iperf

Sample = dict[str, float]
#: What a tunnel that does not carry one measure may raise; the measure then has no figure for it.
FAILURES = (subprocess.SubprocessError, ValueError, LookupError, OSError, ArithmeticError)
#: Bytes of the IPv4 and UDP headers.
UDP_HEADERS = 28
PINGS = 200


def tcp(pair: Pair, seconds: int, *options: str) -> Sample:
    """TCP with cubic. Processor seconds per 10^9 bytes: of the two tunnel processes, and of the whole machine with both ends of iperf3."""
    before = pair.cpu_seconds()
    with IdleCpu() as cpu:
        end = iperf(pair.one, pair.other, pair.address, "-C", "cubic", *options, seconds=seconds)["end"]
    gigabytes = end["sum_received"]["bytes"] / 1e9
    return {
        "gbit_per_s": end["sum_received"]["bits_per_second"] / 1e9,
        "retransmits": end["sum_sent"].get("retransmits", 0),
        "tunnel_cpu_s_per_gb": (pair.cpu_seconds() - before) / gigabytes,
        "machine_cpu_s_per_gb": cpu.busy_seconds / gigabytes,
        "idle_cpu": cpu.share,
    }


def udp(pair: Pair, seconds: int, packet_bytes: int) -> Sample:
    """IPv4 packets of `packet_bytes` received while one sender sends as fast as it can; with the share lost on the way."""
    with IdleCpu() as cpu:
        # Socket buffers of 2 MB, so that a receiver that waits for its processor does not count as loss of the path.
        options = ("-u", "-b", "0", "-w", "2M", "-l", str(packet_bytes - UDP_HEADERS))
        total = iperf(pair.one, pair.other, pair.address, *options, seconds=seconds)["end"]["sum"]
    received = total["packets"] - total["lost_packets"]
    return {"kilopackets_per_s": received / total["seconds"] / 1e3, "lost_percent": total["lost_percent"], "idle_cpu": cpu.share}


def round_trip(pair: Pair, interval: str) -> Sample:
    with IdleCpu() as cpu:
        # Not by `ns`: ping's exit status tells of losses, which are a figure here and no error.
        command = ["ip", "netns", "exec", pair.one.name, "ping", "-n", "-i", interval, "-c", str(PINGS), "-W", "1", pair.address]
        output = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
    times = sorted(float(time) for time in re.findall(r"time=([0-9.]+) ms", output))
    return {
        "average_ms": statistics.fmean(times),
        "p50_ms": times[len(times) // 2],
        "p99_ms": times[len(times) * 99 // 100],
        "lost": PINGS - len(times),
        "idle_cpu": cpu.share,
    }


def loaded_round_trip(pair: Pair) -> Sample:
    """Round trip while four TCP streams take all they can get."""
    with IperfServer(pair.other, pair.address):
        client = pair.one.popen("iperf3", "-c", pair.address, "-t", "15", "-C", "cubic", "-P", "4", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            # Past slow start: queues are as full as they get.
            time.sleep(0.7)
            return round_trip(pair, "0.005")
        finally:
            client.terminate()
            client.wait()


@dataclass(frozen=True)
class Measure:
    """`take` measures for that many seconds; `figure` is the key of the sample that counts, in `unit`."""

    title: str
    figure: str
    unit: str
    take: Callable[[Pair, int], Sample]


MEASURES = {
    "tcp_1": Measure("TCP, 1 stream", "gbit_per_s", "Gbit/s", tcp),
    "tcp_1_reverse": Measure("TCP, 1 stream, reverse", "gbit_per_s", "Gbit/s", lambda pair, seconds: tcp(pair, seconds, "-R")),
    "tcp_4": Measure("TCP, 4 streams", "gbit_per_s", "Gbit/s", lambda pair, seconds: tcp(pair, seconds, "-P", "4")),
    "tcp_4_reverse": Measure("TCP, 4 streams, reverse", "gbit_per_s", "Gbit/s", lambda pair, seconds: tcp(pair, seconds, "-P", "4", "-R")),
    "udp_64": Measure("UDP, packets of 64 B", "kilopackets_per_s", "kpps", lambda pair, seconds: udp(pair, seconds, 64)),
    "udp_512": Measure("UDP, packets of 512 B", "kilopackets_per_s", "kpps", lambda pair, seconds: udp(pair, seconds, 512)),
    "udp_1400": Measure("UDP, packets of 1400 B", "kilopackets_per_s", "kpps", lambda pair, seconds: udp(pair, seconds, 1400)),
    "rtt_idle": Measure("round trip, idle", "average_ms", "ms", lambda pair, _: round_trip(pair, "0.002")),
    "rtt_loaded": Measure("round trip under 4 streams", "average_ms", "ms", lambda pair, _: loaded_round_trip(pair)),
}
