#!/usr/bin/env python3
"""Traffic, session rotation and restarts for ten minutes; the memory of agents that are not restarted must not grow."""

import argparse
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from testbed import Testbed, enter, wait_for  # noqa: E402

TIMING = """    timing:
      auth: {session_max_age: 32}
"""
#: Growth from the end of the first quarter to the end that is still noise of the allocator, in MB.
ALLOWED_MB = 1.5


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--restart-every", type=int, default=20)
    options = parser.parse_args()
    enter()
    bed = Testbed(3, options.bin)
    bed.start(TIMING)
    one, other, restarted = bed.nodes
    server = other.popen("iperf3", "-s", "-B", other.overlay, stdout=subprocess.DEVNULL)
    wait_for(lambda: f"{other.overlay}:5201" in other.ns("ss", "-Hltn"), "iperf3 listening")
    client = one.popen(
        "iperf3", "-C", "cubic", "-b", "150M", "-c", other.overlay, "-t", str(options.seconds), stdout=subprocess.DEVNULL)

    start, samples, restarts, next_restart = time.monotonic(), [], 0, options.restart_every
    while (elapsed := time.monotonic() - start) < options.seconds:
        if client.poll() is not None:
            sys.exit(f"soak: the TCP connection of nodes that were not restarted broke after {elapsed:.0f} s")
        samples.append((elapsed, one.resident_mb(), other.resident_mb()))
        if elapsed >= next_restart:
            restarted.stop(9 if restarts % 2 else 15)
            restarted.start(TIMING)
            wait_for(lambda: one.reaches(restarted) and restarted.reaches(other), "the restarted node reachable")
            restarts, next_restart = restarts + 1, next_restart + options.restart_every
        time.sleep(1)
    client.terminate()
    server.terminate()

    settled = samples[len(samples) // 4]
    last = samples[-1]
    summary = {
        "seconds": options.seconds,
        "restarts": restarts,
        "resident_mb_after_a_quarter": settled[1:],
        "resident_mb_at_the_end": last[1:],
        "resident_mb_most": [max(sample[index] for sample in samples) for index in (1, 2)],
        "drops": {node.name: node.status()["drops"] for node in (one, other)},
    }
    print(json.dumps(summary, indent=1))
    if any(end - begin > ALLOWED_MB for begin, end in zip(settled[1:], last[1:])):
        sys.exit("soak: memory grew")


main()
