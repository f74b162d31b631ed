"""Programs the agent is compared with, in pinned versions, under a cache folder of the user and nowhere else."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

#: What is measured: Debian packages by their Debian version, the rest by the version of its registry.
VERSIONS = {
    "boringtun": "0.7.1",
    "gotatun": "0.10.2",
    "wireguard-go": "0.0.20220316-1+b4",
    "wireguard-go-current": "v0.0.0-20260522210424-ecfc5a8d5446",
    "wireguard-tools": "1.0.20210914-1+b1",
}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunmesh-bench"
#: Seconds a build may take on a busy machine.
BUILD_LIMIT = 1200


class Unavailable(Exception):
    """A program cannot be had on this machine; says why."""


def program(name: str, ceiling: str | None) -> str:
    """Path of the program `name`, made if it is not in the cache yet; `ceiling` is the source file of the one of that name."""
    if name == "ceiling":
        return str(ceiling_program(ceiling))
    folder = CACHE / f"{name}-{VERSIONS[name]}"
    makers: dict[str, Callable[[Path], Path]] = {
        "boringtun": lambda folder: crate(folder, "boringtun-cli", VERSIONS[name], "boringtun-cli"),
        "gotatun": lambda folder: crate(folder, "gotatun-cli", VERSIONS[name], "gotatun"),
        "wireguard-go": lambda folder: debian(folder, "wireguard-go", VERSIONS[name], "usr/bin/wireguard-go"),
        "wireguard-go-current": lambda folder: go(folder, "golang.zx2c4.com/wireguard", VERSIONS[name], "wireguard"),
        "wireguard-tools": lambda folder: debian(folder, "wireguard-tools", VERSIONS[name], "usr/bin/wg"),
    }
    return str(makers[name](folder))


def crate(folder: Path, package: str, version: str, binary: str) -> Path:
    command = ["cargo", "install", "--root", str(folder), "--locked", f"{package}@{version}"]
    return made(folder, folder / "bin" / binary, command)


def go(folder: Path, module: str, version: str, binary: str) -> Path:
    return made(folder, folder / binary, ["go", "install", f"{module}@{version}"], GOBIN=str(folder))


def debian(folder: Path, package: str, version: str, file: str) -> Path:
    """Unpacks the package into the cache: nothing is installed on the machine."""
    return made(folder, folder / file, ["sh", "-c", f"apt-get download -q {package}={version} && dpkg-deb -x {package}_*.deb ."])


def ceiling_program(source: str | None) -> Path:
    """Builds a prototype from `NAME.rs` with `NAME_lib.rs` and `Cargo.toml.txt` beside it."""
    if source is None:
        raise Unavailable("no source file given with --ceiling")
    main = Path(source)
    parts = {"Cargo.toml": main.with_name("Cargo.toml.txt"), "src/lib.rs": main.with_name(f"{main.stem}_lib.rs"), f"src/bin/{main.name}": main}
    if missing := [str(part) for part in parts.values() if not part.is_file()]:
        raise Unavailable(f"no file {missing[0]}")
    digest = hashlib.sha256(b"".join(part.read_bytes() for part in parts.values())).hexdigest()
    folder = CACHE / f"ceiling-{digest[:12]}"
    for place, part in parts.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(part.read_bytes())
    target = folder / "target"
    return made(folder, target / "release" / main.stem, ["cargo", "build", "--release", "--bin", main.stem], CARGO_TARGET_DIR=str(target))


def made(folder: Path, result: Path, command: list[str], **environment: str) -> Path:
    """Runs `command` in `folder` unless `result` is there, and returns `result`."""
    if result.exists():
        return result
    if not shutil.which(command[0]):
        raise Unavailable(f"needs {command[0]}")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"bench: {' '.join(command)}", file=sys.stderr)
    try:
        run = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=BUILD_LIMIT)
    except subprocess.TimeoutExpired as timeout:
        raise Unavailable(f"{command[0]} took more than {BUILD_LIMIT} s") from timeout
    if run.returncode != 0 or not result.exists():
        raise Unavailable(f"{' '.join(command[:2])}: {last_line(run.stderr)}")
    return result


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]
