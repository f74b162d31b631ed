#!/usr/bin/env python3
"""Rekeys in real time between a node and two wireguard-go devices, one of which begins every handshake and one none: no packet is lost.

Ten of them take 21 minutes, as a session is replaced after 120 s.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from testbed import Namespace, Testbed, enter, wait_for  # noqa: E402

SOME_KEY = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="


class Device(Namespace):
    """A namespace with wireguard-go in it, set up from what `tunmesh export wg` prints."""

    def __init__(self, name, number, bed):
        super().__init__(name, number)
        self.overlay = f"192.168.129.{70 + number}"
        self.log, self.file = bed.folder / f"{name}.log", bed.folder / f"{name}.conf"
        self.plug_into_switch()

    def up(self, node, config):
        self.file.write_text(node.ns(node.binary, "export", "wg", "--name", self.name, "--config", config))
        self.file.chmod(0o600)
        with self.log.open("w") as log:
            process = self.popen("env", "LOG_LEVEL=verbose", "wg-quick", "up", str(self.file), stdout=log, stderr=log)
        if process.wait() != 0:
            sys.exit(f"{sys.argv[0]}: wg-quick: {self.log.read_text()}")

    def handshakes(self):
        """Handshakes it began, and those it answered."""
        text = self.log.read_text()
        return text.count("Received handshake response"), text.count("Sending handshake response")


def config(node, phones, keys):
    """The file of the node that serves the devices; `keys` are public keys of their own, by name."""
    peers = [f"{phone.name}: {{address: {phone.overlay}{', public_key: ' + keys[phone.name] if phone.name in keys else ''}}}" for phone in phones]
    return node.write_config(networking=f"    wireguard_peers: {{{', '.join(peers)}}}\n")


def reload(node):
    said = lambda: (node.folder / f"{node.name}.log").read_text().count("configuration reloaded")  # noqa: E731
    before = said()
    node.agent.send_signal(signal.SIGHUP)
    wait_for(lambda: said() > before, "a reload")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--rekeys", type=int, default=10)
    options = parser.parse_args()
    enter()
    bed = Testbed(2, options.bin)
    node, other = bed.nodes
    asking, answering = phones = [Device("asking", 3, bed), Device("answering", 4, bed)]
    file = config(node, phones, {})
    node.start(networking=f"    wireguard_peers: {{{', '.join(f'{phone.name}: {{address: {phone.overlay}}}' for phone in phones)}}}\n")
    other.start()
    bed.wait()
    for phone in phones:
        phone.up(node, file)
        wait_for(lambda: phone.reaches(other), f"a reply to the device {phone.name}")

    # The node forgets its session with a device that gets another key, so the next handshake, and all that renew it, are its own.
    config(node, phones, {answering.name: SOME_KEY})
    reload(node)
    config(node, phones, {})
    reload(node)
    wait_for(lambda: other.reaches(answering), f"a reply of the device {answering.name}")

    before = [phone.handshakes() for phone in phones]
    seconds = 120 * options.rekeys + 30
    pings = [
        sender.popen("ping", "-n", "-q", "-i", "0.05", "-w", str(seconds), receiver.overlay, stdout=subprocess.PIPE, text=True)
        for sender, receiver in [(asking, other), (other, answering)]
    ]
    start = time.monotonic()
    reports = [ping.communicate()[0] for ping in pings]
    summary = {"seconds": time.monotonic() - start}
    for phone, report, (begun, answered) in zip(phones, reports, before):
        sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", report).groups())
        now_begun, now_answered = phone.handshakes()
        counts = {"begun": now_begun - begun, "answered": now_answered - answered}
        summary[phone.name] = {"packets": sent, "lost": sent - received, "handshakes": counts}
    print(json.dumps(summary, indent=1))
    # The last packet may be under way when ping ends.
    clean = all(summary[phone.name]["lost"] <= 1 for phone in phones)
    roles = [summary["asking"]["handshakes"], summary["answering"]["handshakes"]]
    if not clean or roles[0]["begun"] < options.rekeys or roles[1]["answered"] < options.rekeys or roles[1]["begun"] > 0:
        sys.exit("wg_rekey: not clean, see above")


main()
