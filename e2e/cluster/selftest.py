#!/usr/bin/env python3
"""Makes two clusters side by side and removes them: each works, the machine's own settings stay as they were, and nothing is left behind.

For clusters on an engine of their own; what they are made of is built first.
"""

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from local import kind, store  # noqa: E402
from local.cluster import Cluster  # noqa: E402
from local.steps import Failed, run, step  # noqa: E402

CLUSTERS = [Cluster("selftest-a"), Cluster("selftest-b")]
#: Sysctls that count something, and those of single devices, which come and go with the devices.
PASSING = re.compile(
    r"fs\.(aio-nr|dentry-state|file-nr|inode-nr|inode-state|quota)|kernel\.(ns_last_pid|pty\.nr|random)|net\.netfilter\.nf_conntrack_count"
    r"|net\.ipv[46]\.(conf|neigh)\.(?!(all|default)\.)"
)
#: Where engines, CNI and kubelets keep their files on a machine that has them.
FOLDERS = ["/etc/cni", "/opt/cni", "/etc/docker", "/etc/containerd", "/etc/kubernetes", "/run/docker", "/run/containerd",
           "/var/lib/cni", "/var/lib/docker", "/var/lib/containerd", "/var/lib/kubelet", str(Path.home() / ".docker"), str(Path.home() / ".kube")]  # fmt: skip


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    store.made()
    before = machine()
    try:
        with step("two clusters up at once"), ThreadPoolExecutor() as workers:
            list(workers.map(kind.up, CLUSTERS))
        for cluster in CLUSTERS:
            names = kind.kubectl(cluster, "get", "nodes", "--output=name").split()
            expect(names, [f"node/{cluster.name}-{role}" for role in ("control-plane", "worker", "worker2")], f"the nodes of {cluster.name}")
            expect(bool(traces(cluster)), True, f"traces of {cluster.name} to be found")
        compare(before, machine(), "while they run")
    finally:
        for cluster in CLUSTERS:
            kind.down(cluster)
    for cluster in CLUSTERS:
        expect(traces(cluster), [], f"traces of {cluster.name} after its end")
    compare(before, machine(), "after their end")
    print("selftest: two clusters came and went, the machine is as it was")


def machine() -> dict[str, list[str]]:
    """What a cluster must not change, by kind."""
    settings = subprocess.run(["sysctl", "-a"], capture_output=True, text=True, check=False).stdout.splitlines()
    return {
        "sysctls": [setting for setting in settings if not PASSING.match(setting)],
        "packet filter": run("nft", "list", "ruleset").splitlines(),
        "routes": [route for route in run("ip", "route", "show", "table", "all").splitlines() if "dev tunmesh-k" not in route and "fe80::" not in route],
        "rules": run("ip", "rule").splitlines(),
        "packages": run("dpkg-query", "--show").splitlines(),
        "files": [str((path, path.lstat().st_mtime)) for folder in FOLDERS for path in Path(folder).glob("**/*")],
    }


def traces(cluster: Cluster) -> list[str]:
    """What is there of a cluster."""
    found = [line for line in run("ip", "netns", "list").splitlines() if line.split()[0] == cluster.namespace]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{cluster.namespace}")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(cluster.folder) in line or cluster.namespace in line]
    found += [line for line in run("ps", "-eo", "pid,args").splitlines() if str(cluster.folder) in line or f"{cluster.name}-control-plane" in line]
    return found + [str(path) for path in (cluster.folder, cluster.lock) if path.exists()]


def compare(before: dict[str, list[str]], now: dict[str, list[str]], when: str) -> None:
    for what, lines in before.items():
        expect(sorted(set(now[what]) ^ set(lines)), [], f"changes of {what} {when}")


def expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise Failed(f"{what}: {found}, not {wanted}")


main()
