"""What belongs to a cluster of a given name on this machine, and where."""

import argparse
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import cache

#: Beside what was built, so that files can be shared by hard links.
FOLDER = cache.ROOT / "clusters"


@dataclass(frozen=True)
class Cluster:
    """A cluster by name: every file, namespace, device and control group of it is found from here."""

    name: str

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def namespace(self) -> str:
        """The network namespace of the cluster's own engine, as `ip netns` lists it; also the name of its control group."""
        return f"tunmesh-{self.name}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other commands off the cluster."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        while True:
            with self.lock.open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                # Whoever held it before may have removed it; then it keeps nobody off any more.
                if self.lock.exists() and os.path.samestat(self.lock.stat(), os.fstat(lock.fileno())):
                    yield
                    return

    @property
    def lock(self) -> Path:
        return FOLDER / f"{self.name}.lock"

    def forget(self) -> None:
        """Removes all files of the cluster, its lock included, which the caller holds."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.lock.unlink()


def argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", type=named, default=Cluster("tunmesh"), dest="cluster", help="several can run side by side (default: tunmesh)")


def named(text: str) -> Cluster:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError("a name has at most 30 lower-case letters, digits and dashes")
    return Cluster(text)
