"""kind itself, on the machine's engine and the official node image where both can be had, else on an engine and an image of our own."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from . import images, network, node, store
from .cluster import Cluster
from .engine import Engine
from .gotools import built
from .steps import need_root, run, step, wait_for

#: The one that this release of kind names as its own; there is none of a later Kubernetes.
OFFICIAL = "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"
NODES = ["control-plane", "worker", "worker"]
#: The kubelet refuses cgroup v1 unless told otherwise.
KUBELET = {"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1", "failCgroupV1": False}
PULL_LIMIT, REGISTER_LIMIT, READY_LIMIT = 300, 60, "180s"


def up(cluster: Cluster) -> None:
    """Makes the cluster if it is not there, and returns when every node is ready and names resolve."""
    with cluster.locked():
        if ready(cluster):
            return
        clear(cluster)
        if official_image():
            create(cluster, OFFICIAL, {})
            load_netkit(cluster)
        else:
            need_root()
            store.made()
            create(cluster, node.IMAGE, {"apiServerAddress": start_engine(cluster), "apiServerPort": 6443})
        with step("every node ready and DNS answering"):
            # A node that joined may not have its object yet, and `kubectl wait` knows only of those that are there.
            wait_for(lambda: len(kubectl(cluster, "get", "nodes", "--output=name").split()) == len(NODES), "the last node's object", REGISTER_LIMIT)
            kubectl(cluster, "wait", "--for=condition=Ready", "nodes", "--all", f"--timeout={READY_LIMIT}")
            kubectl(cluster, "--namespace=kube-system", "rollout", "status", "deployment/coredns", f"--timeout={READY_LIMIT}")


def down(cluster: Cluster) -> None:
    """Removes the cluster and all that came with it."""
    with cluster.locked():
        clear(cluster)
        cluster.forget()


def load(cluster: Cluster, archive: Path) -> None:
    """Puts the image of an archive onto every node."""
    run(built("kind"), "load", "image-archive", archive, "--name", cluster.name, env=environment(cluster))


def load_netkit(cluster: Cluster) -> None:
    """Puts on the nodes what a node image of our own has from the start."""
    with step("make and load netkit"):
        archive = cluster.folder / "netkit.tar"
        images.netkit(archive)
        load(cluster, archive)
        archive.unlink()


def ready(cluster: Cluster) -> bool:
    command = [str(built("kubectl")), "--kubeconfig", str(cluster.kubeconfig), "--request-timeout=5s", "get", "nodes", "--output=json"]
    listed = subprocess.run(command, capture_output=True, check=False) if cluster.kubeconfig.exists() else None
    if listed is None or listed.returncode != 0:
        return False
    conditions = [condition for item in json.loads(listed.stdout)["items"] for condition in item["status"]["conditions"]]
    return [condition["status"] for condition in conditions if condition["type"] == "Ready"] == ["True"] * len(NODES)


def clear(cluster: Cluster) -> None:
    """Removes what a cluster of that name has on this machine, whole or not, its lock aside."""
    engine = Engine(cluster)
    if cluster.folder.exists() and not engine.folder.exists():
        run(built("kind"), "delete", "cluster", "--name", cluster.name, "--kubeconfig", cluster.kubeconfig)
    engine.kill()
    network.remove(cluster)
    if cluster.folder.exists():
        shutil.rmtree(cluster.folder)


def official_image() -> bool:
    """Whether this machine has an engine with the official image, pulled now if need be."""
    if not shutil.which("docker") or not succeeds("docker", "info"):
        return False
    with step("look for the official node image"):
        return succeeds("docker", "image", "inspect", OFFICIAL) or succeeds("docker", "pull", "--quiet", OFFICIAL)


def succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=PULL_LIMIT).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def start_engine(cluster: Cluster) -> str:
    """Starts an engine of the cluster's own that has the node image, and returns the address at which this machine reaches it."""
    engine = Engine(cluster)
    with step("copy the node image and start an engine"):
        engine.folder.mkdir(parents=True)
        store.copy(engine.data)
        link = network.make(cluster)
        engine.start()
    return link.inner_address


def create(cluster: Cluster, image: str, networking: dict[str, object]) -> None:
    cluster.folder.mkdir(exist_ok=True)
    configuration = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": networking,
        "nodes": [{"role": role} for role in NODES],
        "kubeadmConfigPatches": [json.dumps(KUBELET)],
    }
    (cluster.folder / "kind.json").write_text(json.dumps(configuration, indent=1))
    with step("kind create cluster"):
        options = ["--name", cluster.name, "--image", image, "--config", str(cluster.folder / "kind.json"), "--kubeconfig", str(cluster.kubeconfig)]
        run(built("kind"), "create", "cluster", *options, env=environment(cluster))


def environment(cluster: Cluster) -> dict[str, str]:
    engine = Engine(cluster)
    return engine.environment if engine.folder.exists() else dict(os.environ)


def kubectl(cluster: Cluster, *arguments: str) -> str:
    return run(built("kubectl"), "--kubeconfig", cluster.kubeconfig, *arguments)
