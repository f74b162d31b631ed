"""Roots of file systems made from Debian packages."""

import hashlib
import os
import shutil
from pathlib import Path

from . import cache
from .machine import architecture, need_apt
from .steps import need_root, run, step

#: Its systemd, 252, still takes cgroup v1; that of the next release does not.
SUITE = "bookworm"

#: What the engine runs on. docker.io brings containerd, runc, tini and iptables.
ENGINE = ["docker.io"]

#: What a node of the cluster runs on, as in kind's own base image, and what the images of `images.py` take from it.
NODE = [
    "bash", "busybox-static", "ca-certificates", "conntrack", "curl", "e2fsprogs", "ethtool", "gzip", "hostname", "iperf3", "iproute2", "iptables",
    "iputils-ping", "jq", "kmod", "libseccomp2", "mount", "nftables", "pigz", "procps", "systemd", "tar", "util-linux",
]  # fmt: skip
UNUSED = ["/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*"]


def root(name: str, packages: list[str]) -> Path:
    """A root with these packages and all they depend on, made if it is not in the cache; not to be written to."""
    place = cache.folder(f"{name}-root", f"{SUITE}-{architecture()}", hashlib.sha256(repr((SUITE, packages, UNUSED)).encode()).hexdigest())
    if not place.is_dir():
        with step(f"make the {name}'s root from Debian packages"):
            cache.made(place, lambda folder: bootstrap(folder / "root", packages))
    return place / "root"


def bootstrap(folder: Path, packages: list[str]) -> None:
    excluded = [f"--dpkgopt=path-exclude={path}" for path in UNUSED]
    need_root()
    program = mmdebstrap()
    options = ["--mode=root", "--variant=minbase", "--format=directory", "--aptopt=Acquire::Languages none", *excluded]
    run(program, *options, f"--include={','.join(packages)}", SUITE, folder, *own_sources(), env=with_helpers(program))


def with_helpers(program: Path) -> dict[str, str]:
    """mmdebstrap looks for the programs that came with it on the search path."""
    return os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}:/usr/sbin:/sbin"}


def own_sources() -> list[str]:
    """This machine's package sources, if they are those of the suite; mmdebstrap knows Debian's public ones."""
    release = Path("/etc/os-release").read_text()
    files = [file for file in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list") if os.path.exists(file)]
    return files[:1] if f"VERSION_CODENAME={SUITE}" in release.splitlines() else []


def mmdebstrap() -> Path:
    """The program, unpacked into the cache if this machine has none: nothing is installed."""
    if installed := shutil.which("mmdebstrap"):
        return Path(installed)
    place = cache.folder("mmdebstrap", SUITE, hashlib.sha256(SUITE.encode()).hexdigest())
    return cache.made(place, unpack_mmdebstrap) / "usr/bin/mmdebstrap"


def unpack_mmdebstrap(folder: Path) -> None:
    need_apt("mmdebstrap")
    run("apt-get", "update", "-qq")
    run("apt-get", "download", "-q", "mmdebstrap", cwd=folder)
    for package in folder.glob("*.deb"):
        run("dpkg-deb", "-x", package, folder)
        package.unlink()
