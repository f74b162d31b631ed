"""Programs built from Go modules. `tools/<folder>/go.mod` pins each and all it depends on; the cache keeps what was built."""

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import cache, machine
from .steps import Failed, run, step

MODULES = Path(__file__).resolve().parent.parent / "tools"

#: Kubernetes learns its own version at link time, in two packages; kubeadm refuses to work without.
KUBERNETES_STAMP = " ".join(
    f"-X {package}.{name}={value}"
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    for name, value in {"gitVersion": "{version}", "gitMajor": "{major}", "gitMinor": "{minor}", "gitTreeState": "clean"}.items()
)


@dataclass(frozen=True)
class GoTool:
    """One program: the folder of its go.mod under tools/, its package, and what it is built with beyond the usual.

    Its version is that of the module `of`, by default the package itself.
    """

    module: str
    package: str
    of: str = ""
    stamp: str = ""
    tags: str = ""
    cgo: bool = False

    def go_mod(self) -> Path:
        return MODULES / self.module / "go.mod"

    def version(self) -> str:
        """The version go.mod requires of the module that it is of."""
        required = re.findall(r"^(?:require)?\s+(\S+) (v\S+)", self.go_mod().read_text(), re.MULTILINE)
        wanted = self.of or self.package
        holders = [(path, version) for path, version in required if f"{wanted}/".startswith(f"{path}/")]
        if not holders:
            raise Failed(f"{self.go_mod()} requires no module that holds {wanted}")
        _, version = max(holders, key=lambda holder: len(holder[0]))
        return str(version)

    def ldflags(self) -> str:
        version = self.version()
        major, minor = version.removeprefix("v").split(".")[:2]
        return f"-s -w {self.stamp.format(version=version, major=major, minor=minor)}".strip()

    def digest(self) -> str:
        """Of all that decides what is built."""
        files = [file.read_bytes() for file in sorted(self.go_mod().parent.iterdir())]
        return hashlib.sha256(repr((self.package, self.ldflags(), self.tags, self.cgo, files)).encode()).hexdigest()


def kubernetes(command: str) -> GoTool:
    return GoTool("kubernetes", f"k8s.io/kubernetes/cmd/{command}", stamp=KUBERNETES_STAMP)


CONTAINERD = "github.com/containerd/containerd/v2/cmd"
CNI = "github.com/containernetworking/plugins/plugins"

TOOLS = {
    "cni-host-local": GoTool("cni", f"{CNI}/ipam/host-local"),
    "cni-loopback": GoTool("cni", f"{CNI}/main/loopback"),
    "cni-portmap": GoTool("cni", f"{CNI}/meta/portmap"),
    "cni-ptp": GoTool("cni", f"{CNI}/main/ptp"),
    "containerd": GoTool("containerd", f"{CONTAINERD}/containerd", tags="no_btrfs no_devmapper no_zfs"),
    "containerd-shim-runc-v2": GoTool("containerd", f"{CONTAINERD}/containerd-shim-runc-v2"),
    "coredns": GoTool("coredns", ".", of="github.com/coredns/coredns"),
    "ctr": GoTool("containerd", f"{CONTAINERD}/ctr"),
    "etcd": GoTool("etcd", "go.etcd.io/etcd/server/v3"),
    "etcdctl": GoTool("etcd", "go.etcd.io/etcd/etcdctl/v3"),
    "kind": GoTool("kind", "sigs.k8s.io/kind"),
    "kube-apiserver": kubernetes("kube-apiserver"),
    "kube-controller-manager": kubernetes("kube-controller-manager"),
    "kube-proxy": kubernetes("kube-proxy"),
    "kube-scheduler": kubernetes("kube-scheduler"),
    "kubeadm": kubernetes("kubeadm"),
    "kubectl": kubernetes("kubectl"),
    "kubelet": kubernetes("kubelet"),
    "local-path-provisioner": GoTool("local-path-provisioner", "github.com/rancher/local-path-provisioner"),
    # Static, as it moves into a Debian root that may have older libraries than this machine; without seccomp it could not run RuntimeDefault.
    "runc": GoTool("runc", "github.com/opencontainers/runc", stamp="-extldflags -static", tags="seccomp netgo osusergo", cgo=True),
}


def place(name: str) -> Path:
    """Where the program `name` is, or would be if it were built."""
    tool = TOOLS[name]
    return cache.folder(name, f"{tool.version()}-{machine.architecture()}", tool.digest()) / name


def built(name: str) -> Path:
    """The program `name`, built if it is not in the cache."""
    program = place(name)
    if not program.exists():
        if TOOLS[name].cgo:
            machine.install(machine.C_COMPILER | machine.SECCOMP)
        with step(f"build {name} {TOOLS[name].version()}"):
            cache.made(program.parent, lambda folder: build(TOOLS[name], folder / name))
    return program


def build(tool: GoTool, output: Path) -> None:
    options = ["-trimpath", "-buildvcs=false", "-tags", tool.tags, "-ldflags", tool.ldflags()]
    go(tool.module, "build", *options, "-o", str(output), tool.package, CGO_ENABLED="1" if tool.cgo else "0")


def source(module: str, path: str) -> Path:
    """The folder, not to be written to, that holds the source of the module `path` as the go.mod of `module` pins it."""
    go(module, "mod", "download", path)
    return Path(go(module, "list", "-m", "-f", "{{.Dir}}", path).strip())


def go(module: str, *arguments: str, **environment: str) -> str:
    if not shutil.which("go"):
        raise Failed("needs Go, the version that the go.mod files name or a later one")
    return run("go", *arguments, cwd=MODULES / module, env=os.environ | {"GOFLAGS": "", "GOWORK": "off"} | environment)
