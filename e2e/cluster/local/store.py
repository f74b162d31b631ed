"""An engine's files with the node image in them: made once, then copied for each cluster."""

import os
from pathlib import Path

from . import archive, cache, machine, network, node
from .cluster import Cluster
from .engine import Engine
from .gotools import TOOLS
from .steps import run, step


def place() -> Path:
    return cache.folder("node-image", f"{TOOLS['kubelet'].version()}-{machine.architecture()}", node.digest())


def made() -> Path:
    """The folder, made if it is not in the cache; not to be written to."""
    if not place().is_dir():
        with step("make the node image, all builds included"):
            cache.made(place(), fill)
    return place() / "data"


def copy(target: Path) -> None:
    """Copies it. Layers of images are shared by hard links, as nothing writes to them: what a container changes is copied first."""
    target.mkdir()
    for entry in sorted(made().iterdir()):
        run("cp", "-al" if entry.name == "overlay2" else "-a", entry, target)


def fill(folder: Path) -> None:
    layer = folder / "layer.tar"
    node.write_layer(layer)
    cluster = Cluster(f"build-{os.getpid()}")
    engine = Engine(cluster)
    with cluster.locked():
        network.make(cluster)
        try:
            engine.start()
            with step("load the node image into an engine"):
                load(engine, layer)
            engine.kill()
            engine.data.rename(folder / "data")
        finally:
            engine.kill()
            network.remove(cluster)
            cluster.forget()


def load(engine: Engine, layer: Path) -> None:
    image = engine.folder / "image.tar"
    with layer.open("rb") as content, image.open("wb") as output:
        archive.write(output, [node.IMAGE], content, node.CONFIG)
    layer.unlink()
    run("docker", "load", "--quiet", "--input", image, env=engine.environment)
