"""The network namespace of a cluster's engine, and the link by which this machine reaches it."""

import json
import subprocess
from dataclasses import dataclass

from . import cache
from .cluster import FOLDER, Cluster
from .steps import Failed, run

#: Of the range for benchmarks (RFC 2544), which no machine on a real network has: a /30 for each link.
RANGE = "198.18.{}"
LINKS = range(64)
INNER_DEVICE = "outside"


@dataclass(frozen=True)
class Link:
    """A veth pair with an address at either end."""

    number: int

    @property
    def device(self) -> str:
        return f"tunmesh-k{self.number}"

    @property
    def outer_address(self) -> str:
        """Of this machine's end."""
        return f"{RANGE.format(self.number)}.1"

    @property
    def inner_address(self) -> str:
        """Of the engine's end: the address of the cluster's API server."""
        return f"{RANGE.format(self.number)}.2"


def make(cluster: Cluster) -> Link:
    """Makes the namespace and a link to it, with a number no other link has."""
    inside = ["ip", "-n", cluster.namespace]
    with cache.locked(FOLDER / "network"):
        used = {device["ifname"] for device in json.loads(run("ip", "-json", "link", "show"))}
        free = [link for link in map(Link, LINKS) if link.device not in used]
        if not free:
            raise Failed("no more clusters fit beside those that run")
        link = free[0]
        run("ip", "netns", "add", cluster.namespace)
        run("ip", "link", "add", link.device, "type", "veth", "peer", "name", INNER_DEVICE, "netns", cluster.namespace)
    run("ip", "address", "add", f"{link.outer_address}/30", "dev", link.device)
    run("ip", "link", "set", link.device, "up")
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "address", "add", f"{link.inner_address}/30", "dev", INNER_DEVICE)
    run(*inside, "link", "set", INNER_DEVICE, "up")
    return link


def remove(cluster: Cluster) -> None:
    """Removes the namespace, and with it the link, whose inner end lives there."""
    if exists(cluster):
        subprocess.run(["ip", "-n", cluster.namespace, "link", "delete", INNER_DEVICE], capture_output=True, check=False)
        run("ip", "netns", "delete", cluster.namespace)


def exists(cluster: Cluster) -> bool:
    return cluster.namespace in (line.split()[0] for line in run("ip", "netns", "list").splitlines())
