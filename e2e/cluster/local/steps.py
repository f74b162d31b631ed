"""What a command says while it works, and how it runs other programs."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Failed(SystemExit):
    """Something could not be done; ends a command that does not catch it, with that sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(f"{Path(sys.argv[0]).name}: {sentence}")


@contextmanager
def step(what: str) -> Iterator[None]:
    """Says on standard error how long the body took."""
    start = time.monotonic()
    yield
    print(f"{time.monotonic() - start:7.1f} s  {what}", file=sys.stderr)


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Runs a program and returns what it wrote; if it fails, ends with the last lines of what it said."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd=cwd, env=env)
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-20:])
        raise Failed(f"{' '.join(str(part) for part in command)} ended with {done.returncode}:\n{said}")
    return done.stdout


def wait_for(condition: Callable[[], object], what: str, limit: float) -> None:
    """Returns when `condition` holds; fails after `limit` seconds."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"{what} did not happen within {limit:.0f} s")
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether that process runs; one that ended and was not reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except OSError:
        return False


def need_root() -> None:
    if os.geteuid() != 0:
        raise Failed("needs root, for namespaces and mounts")
