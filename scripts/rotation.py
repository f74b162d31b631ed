#!/usr/bin/env python3
"""Ten rotations of v0 sessions with `session_max_age: 45` under one TCP stream: no reset, no burst of retransmissions, no dropped packet."""

import argparse
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from testbed import Testbed, enter, wait_for  # noqa: E402

TIMING = """    timing:
      auth: {session_max_age: 45}
"""


V0 = "    data_plane: {paths: [v0]}\n"


def drops(bed):
    """Packets dropped by either node so far, the kernel's chatter that no mesh carries aside."""
    reasons = [item for node in bed.nodes for item in node.status()["drops"].items()]
    return sum(count for reason, count in reasons if reason != "unsupported")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--rotations", type=int, default=10)
    parser.add_argument("--limit", type=int, default=560, help="seconds after which it gives up")
    options = parser.parse_args()
    enter()
    bed = Testbed(2, options.bin)
    bed.start(TIMING, networking=V0)
    one, other = bed.nodes

    dropped_before = drops(bed)
    server = other.popen("iperf3", "-s", "-1", "-B", other.overlay, stdout=subprocess.DEVNULL)
    wait_for(lambda: f"{other.overlay}:5201" in other.ns("ss", "-Hltn"), "iperf3 listening")
    client = one.popen("iperf3", "-J", "-C", "cubic", "-b", "100M", "-c", other.overlay, "-t", str(options.limit), stdout=subprocess.PIPE, text=True)
    ages, rotations, start = {}, 0, time.monotonic()
    while rotations < 2 * options.rotations and time.monotonic() - start < options.limit - 10:
        for node in bed.nodes:
            for peer in node.status()["peers"]:
                age = peer["session_secs"] or 0.0
                if age < ages.get(node.name, 0.0):
                    rotations += 1
                ages[node.name] = age
        time.sleep(0.5)
    took = time.monotonic() - start
    client.send_signal(2)
    document = json.loads(client.communicate()[0])
    server.terminate()
    intervals = [interval["sum"] for interval in document["intervals"]]
    summary = {
        "rotations": rotations,
        "seconds": took,
        "mbit_per_s": document["end"]["sum_sent"]["bits_per_second"] / 1e6,
        "slowest_second_mbit_per_s": min(interval["bits_per_second"] for interval in intervals[1:-1]) / 1e6,
        "retransmits": document["end"]["sum_sent"]["retransmits"],
        "most_retransmits_in_a_second": max(interval["retransmits"] for interval in intervals),
        "dropped": drops(bed) - dropped_before,
        "error": document.get("error"),
    }
    print(json.dumps(summary, indent=1))
    if rotations < 2 * options.rotations or summary["retransmits"] > 0 or summary["dropped"] > 0:
        sys.exit("rotation: not clean, see above")


main()
