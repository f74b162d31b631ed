"""The node image: kind's own files on a Debian root, with programs built from Go modules and all images a cluster starts with."""

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import archive, debian, images
from .gotools import TOOLS, built, source
from .steps import run, step, wait_for

HERE = Path(__file__).resolve().parent
IMAGE = f"kindest/node:{TOOLS['kubelet'].version()}"
PROGRAMS = {
    "/opt/cni/bin/host-local": "cni-host-local",
    "/opt/cni/bin/loopback": "cni-loopback",
    "/opt/cni/bin/portmap": "cni-portmap",
    "/opt/cni/bin/ptp": "cni-ptp",
    "/usr/bin/kubeadm": "kubeadm",
    "/usr/bin/kubectl": "kubectl",
    "/usr/bin/kubelet": "kubelet",
    "/usr/local/bin/containerd": "containerd",
    "/usr/local/bin/containerd-shim-runc-v2": "containerd-shim-runc-v2",
    "/usr/local/bin/ctr": "ctr",
    "/usr/local/sbin/runc": "runc",
}
#: Files of this folder that decide what is in the image.
MADE_OF = ["archive.py", "debian.py", "default-cni.yaml", "images.py", "keep-kernel-settings", "node.py"]
#: Units of Debian's systemd that have no place in a container, as kind's base image removes them.
UNWANTED = [
    "etc/systemd/system/*.wants/*",
    "usr/lib/systemd/system/basic.target.wants/*",
    "usr/lib/systemd/system/local-fs.target.wants/*",
    "usr/lib/systemd/system/multi-user.target.wants/*",
    "usr/lib/systemd/system/sockets.target.wants/*initctl*",
    "usr/lib/systemd/system/sockets.target.wants/*udev*",
    "usr/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
    # These set what belongs to the whole kernel, not to the container.
    "usr/lib/sysctl.d/50-pid-max.conf",
    "usr/lib/sysctl.d/99-protect-links.conf",
]
ENABLED = ["containerd", "kubelet", "undo-mount-hacks"]
#: Folders whose content the engine provides.
EMPTY = ["dev", "proc", "run", "sys", "tmp"]
CONFIG = {
    "Entrypoint": ["/kind/bin/keep-kernel-settings", "/usr/local/bin/entrypoint", "/sbin/init"],
    "Env": ["container=docker", archive.SEARCH_PATH],
    # systemd ends on this one; others mean something else to it.
    "StopSignal": "SIGRTMIN+3",
}
IMPORT_LIMIT = 120.0


def digest() -> str:
    """Of all that decides what is in the image, the programs to be built included."""
    made_of = [(HERE / name).read_bytes() for name in MADE_OF]
    return hashlib.sha256(repr(([tool.digest() for tool in TOOLS.values()], made_of)).encode()).hexdigest()


def write_layer(output: Path) -> None:
    """Writes the tar of the image's only layer."""
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        root = Path(scratch) / "root"
        run("cp", "-a", debian.root("node", debian.NODE), root)
        add_kind_files(root)
        edit_system(root)
        for path, name in PROGRAMS.items():
            install(root, path, built(name), 0o755)
        add_kubernetes_files(root)
        with step("put the images into the node image"):
            preload(root, Path(scratch))
        run("tar", "-C", root, "--numeric-owner", *(f"--exclude=./{folder}/*" for folder in EMPTY), "-cf", output, ".")


def add_kind_files(root: Path) -> None:
    files = source("kind", "sigs.k8s.io/kind") / "images/base/files"
    for file in sorted(path for path in files.rglob("*") if path.is_file()):
        path = file.relative_to(files)
        program = path.parts[:2] == ("kind", "bin") or path.parts[:3] == ("usr", "local", "bin")
        install(root, f"/{path}", file, 0o755 if program else 0o644)


def edit_system(root: Path) -> None:
    for pattern in UNWANTED:
        for path in root.glob(pattern):
            path.unlink()
    system = root / "etc/systemd/system"
    (system / "multi-user.target.wants").mkdir(exist_ok=True)
    for unit in ENABLED:
        (system / f"multi-user.target.wants/{unit}.service").symlink_to(f"/etc/systemd/system/{unit}.service")
    (system / "systemd-binfmt.service").symlink_to("/dev/null")
    with (root / "etc/systemd/journald.conf").open("a") as journal:
        journal.write("ReadKMsg=no\n")
    (root / "usr/sbin/init").unlink(missing_ok=True)
    (root / "usr/sbin/init").symlink_to("/usr/lib/systemd/systemd")
    install(root, "/kind/bin/keep-kernel-settings", HERE / "keep-kernel-settings", 0o755)
    # The engine may not be allowed to lower the score, and then nor is what runs inside.
    configuration = root / "etc/containerd/config.toml"
    configuration.write_text(configuration.read_text().replace("restrict_oom_score_adj = false", "restrict_oom_score_adj = true"))


def add_kubernetes_files(root: Path) -> None:
    (root / "etc/kubernetes/manifests").mkdir(parents=True)
    manifests = root / "kind/manifests"
    manifests.mkdir()
    shutil.copy(HERE / "default-cni.yaml", manifests)
    (manifests / "default-storage.yaml").write_text(images.storage_manifest())
    (root / "kind/version").write_text(TOOLS["kubelet"].version())
    specification = json.loads(run(built("ctr"), "oci", "spec"))
    specification.setdefault("hooks", {}).setdefault("createContainer", []).append({"path": "/kind/bin/mount-product-files.sh"})
    specification["process"].pop("rlimits", None)
    (root / "etc/containerd/cri-base.json").write_text(json.dumps(specification))


def preload(root: Path, scratch: Path) -> None:
    """Imports the images into the containerd store under `root`, by a containerd that lives only for that, in a mount namespace of its own."""
    archives, store = scratch / "images", root / "var/lib/containerd"
    archives.mkdir()
    images.write_all(archives)
    socket = scratch / "socket"
    off = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"]
    settings = [f'root = "{store}"', f'state = "{scratch}/state"', f"disabled_plugins = {json.dumps(off)}"]
    settings += ["[grpc]", f'address = "{socket}"', "[ttrpc]", f'address = "{scratch}/ttrpc"']
    (scratch / "containerd.toml").write_text("\n".join(["version = 3", *settings]))
    client = [str(built("ctr")), "--address", str(socket), "--namespace", "k8s.io"]
    with (scratch / "containerd.log").open("w") as log:
        command = ["unshare", "--mount", "--propagation=private", str(built("containerd")), "--config", str(scratch / "containerd.toml")]
        containerd = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for(lambda: subprocess.run([*client, "version"], capture_output=True, check=False).returncode == 0, "containerd's first answer", IMPORT_LIMIT)
        for file in sorted(archives.iterdir()):
            run(*client, "images", "import", "--local", "--label=io.cri-containerd.pinned=pinned", file)
        drop_archived_layers(client)
    finally:
        containerd.terminate()
        containerd.wait()


def drop_archived_layers(client: list[str]) -> None:
    """The layers are unpacked: lets go of the copies as they came, and returns when the collector has removed them, which would double the image."""
    before = len(run(*client, "content", "ls", "-q").split())
    run(*client, "content", "prune", "references")
    wait_for(lambda: len(run(*client, "content", "ls", "-q").split()) < before, "the removal of archived layers", IMPORT_LIMIT)


def install(root: Path, path: str, file: Path, mode: int) -> None:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)
    target.chmod(mode)
