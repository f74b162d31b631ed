"""Micro benchmarks of the packet path: programs run by `cargo bench` that print one line `name<TAB>nanoseconds` each."""

import re
import subprocess
from pathlib import Path

PACKAGES = ("tunmesh-packet", "tunmesh-session")
LIMIT = 1800
REPOSITORY = Path(__file__).resolve().parents[2]


def micro_benchmarks(skipped: dict[str, str]) -> dict[str, float]:
    """Nanoseconds by package and name; a package that gives none is added to `skipped` with the reason."""
    figures = {}
    for package in PACKAGES:
        try:
            figures |= {f"{package}: {name}": value for name, value in package_benchmarks(package).items()}
        except (subprocess.SubprocessError, OSError) as error:
            skipped[f"micro benchmarks of {package}"] = str(error)
    return figures


def package_benchmarks(package: str) -> dict[str, float]:
    # Standard error is the caller's: a build that fails says so there.
    command = ["cargo", "bench", "-q", "-p", package]
    output = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True, timeout=LIMIT).stdout
    return {name: float(value) for name, value in re.findall(r"^(\S[^\t\n]*)\t([0-9]+(?:\.[0-9]+)?)$", output, re.MULTILINE)}
