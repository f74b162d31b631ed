"""Built files under a cache folder of the user, each made once and then only read."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunmesh"


def folder(name: str, version: str, digest: str) -> Path:
    """The place of what is called `name`; another version or another digest of what it is made from is another place."""
    return ROOT / name / f"{version}-{digest[:12]}"


def made(place: Path, make: Callable[[Path], None]) -> Path:
    """Returns the folder `place`, filled by `make` if it is not there yet.

    `make` gets an empty folder beside it that takes its name only when `make` has returned, so a reader never sees half of it. A second run
    that wants the same waits for the first; the lock goes with the process that holds it.
    """
    if place.is_dir():
        return place
    with locked(place):
        if place.is_dir():
            return place
        unfinished = place.with_name(f"{place.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        make(unfinished)
        unfinished.rename(place)
    return place


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """Holds the lock of `place`, a file beside it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
