"""The images a node carries from the start, each made from programs built from Go modules or taken from Debian packages."""

import re
from pathlib import Path

from . import cache, debian, machine
from .archive import Layer, save
from .gotools import TOOLS, built, source
from .steps import Failed, run

#: Small tools for tests: iperf3, ping, ip, ss, curl, nft, iptables, conntrack, kubectl and busybox. Also what the pod network is made with.
NETKIT = "tunmesh.io/e2e/netkit:1"
#: kind's node image asks for this one whatever kubeadm asks for.
SANDBOX = "registry.k8s.io/pause:3.10"

NETKIT_PROGRAMS = ["/usr/bin/curl", "/usr/bin/iperf3", "/usr/bin/ping", "/usr/bin/ip", "/usr/bin/ss"]
FILTER_PROGRAMS = ["/usr/sbin/conntrack", "/usr/sbin/nft", "/usr/sbin/xtables-nft-multi"]
FILTER_NAMES = ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"]


def write_all(folder: Path) -> None:
    """Writes an archive of every image into `folder`."""
    names = {image.split("/")[-1].split(":")[0]: image for image in required()}
    provisioner, helper = storage_images()
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        save(folder / f"{name}.tar", [names[name]], programs(name), {})
    save(folder / "etcd.tar", [names["etcd"]], programs("etcd", "etcdctl"), {})
    save(folder / "coredns.tar", [names["coredns"]], one("/coredns", built("coredns")), {"Entrypoint": ["/coredns"]})
    save(folder / "pause.tar", [names["pause"], SANDBOX], one("/pause", pause()), {"Entrypoint": ["/pause"]})
    save(folder / "kube-proxy.tar", [names["kube-proxy"]], packet_filter(programs("kube-proxy")), {})
    storage = one("/usr/bin/local-path-provisioner", built("local-path-provisioner"))
    save(folder / "local-path-provisioner.tar", [provisioner], storage, {"Entrypoint": ["local-path-provisioner"]})
    save(folder / "busybox.tar", [helper], busybox(programs()), {"Cmd": ["/bin/sh"]})
    netkit(folder / "netkit.tar")


def netkit(output: Path) -> None:
    layer = packet_filter(busybox(programs("kubectl")))
    # busybox's shell would run busybox's own `ip` whatever the search path says.
    layer.program("/bin/sh", root() / "usr/bin/dash", root())
    for program in NETKIT_PROGRAMS:
        layer.program(program, root() / program.lstrip("/"), root())
    save(output, [NETKIT], layer, {"Cmd": ["/bin/sh"]})


def required() -> list[str]:
    """The images kubeadm asks for, with the tags it asks for."""
    version = TOOLS["kubeadm"].version()
    return run(built("kubeadm"), "config", "images", "list", "--kubernetes-version", version).split()


def storage_images() -> tuple[str, str]:
    """The names under which kind's own storage manifest wants local-path-provisioner and its helper."""
    constants = kind_constants("const_storage.go")
    provisioner, helper = re.findall(r'^const storage(?:Provisioner|Helper)Image = "(\S+)"', constants, re.MULTILINE)
    return provisioner, helper


def storage_manifest() -> str:
    """The storage manifest that kind's build puts into a node image."""
    constants = kind_constants("const_storage.go")
    manifest = re.search(r"^const defaultStorageManifest = `\n(.*)^`", constants, re.MULTILINE | re.DOTALL)
    if not manifest:
        raise Failed("the source of kind has no storage manifest where it was")
    provisioner, helper = storage_images()
    return manifest[1].replace("` + storageProvisionerImage + `", provisioner).replace("` + storageHelperImage + `", helper)


def kind_constants(file: str) -> str:
    return (source("kind", "sigs.k8s.io/kind") / "pkg/build/nodeimage" / file).read_text()


def programs(*names: str) -> Layer:
    layer = Layer()
    layer.folder("/tmp", 0o1777)
    for name in names:
        layer.file(f"/usr/local/bin/{name}", built(name), 0o755)
    return layer


def one(path: str, program: Path) -> Layer:
    layer = programs()
    layer.file(path, program, 0o755)
    return layer


def busybox(layer: Layer) -> Layer:
    """Adds Debian's static busybox, with a link for each of its names."""
    program = root() / "usr/bin/busybox"
    layer.file("/bin/busybox", program, 0o755)
    for name in sorted(set(run(program, "--list").split()) - {"busybox"}):
        layer.link(f"/bin/{name}", "busybox")
    return layer


def packet_filter(layer: Layer) -> Layer:
    """Adds what kube-proxy runs in either of its modes: nft, and iptables on top of it."""
    for program in FILTER_PROGRAMS:
        layer.program(program, root() / program.lstrip("/"), root())
    for name in FILTER_NAMES:
        layer.link(f"/usr/sbin/{name}", "xtables-nft-multi")
    for extension in sorted(root().glob("usr/lib/*/xtables/*.so")):
        layer.program(f"/{extension.relative_to(root())}", extension, root())
    return layer


def pause() -> Path:
    """The program that holds a pod's namespaces, built from the C source that Kubernetes publishes with its own."""
    version = TOOLS["kubelet"].version()
    return cache.made(cache.folder("pause", f"{version}-{machine.architecture()}", TOOLS["kubelet"].digest()), build_pause) / "pause"


def build_pause(folder: Path) -> None:
    machine.install(machine.C_COMPILER)
    file = source("kubernetes", "k8s.io/kubernetes") / "build/pause/linux/pause.c"
    run("cc", "-Os", "-static", "-DVERSION=pause", "-o", folder / "pause", file)


def root() -> Path:
    return debian.root("node", debian.NODE)
