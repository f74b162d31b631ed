"""What this machine is, and what it lacks for building."""

import os
import platform
import shutil

from .steps import Failed, run, step

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
#: A file of each Debian package, by which it is known to be there.
C_COMPILER = {"/usr/bin/cc": "gcc", "/usr/include/stdlib.h": "libc6-dev"}
SECCOMP = {"/usr/bin/pkg-config": "pkg-config", "/usr/include/seccomp.h": "libseccomp-dev"}


def architecture() -> str:
    """This machine's, in Go's words."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise Failed(f"no way known to build for a {machine}")
    return ARCHITECTURES[machine]


def install(files: dict[str, str]) -> None:
    """Installs the packages, values of `files`, whose file, the key, this machine does not have."""
    missing = sorted({package for file, package in files.items() if not os.path.exists(file)})
    if missing:
        need_apt(", ".join(missing))
        with step(f"install {', '.join(missing)}"):
            run("apt-get", "update", "-qq")
            run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})


def need_apt(what: str) -> None:
    if not shutil.which("apt-get"):
        raise Failed(f"needs {what}, and this machine has no apt to get it")
