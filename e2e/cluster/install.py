#!/usr/bin/env python3
"""Puts this tree's Tun Mesh onto a local cluster: builds programs and images, loads them, applies crds/yaml and deploy, waits until all of it is ready.

Run again after a change, it replaces what is there. `installed/kustomization.yaml` says how it differs from deploy.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from local import cluster, kind  # noqa: E402
from local.archive import Layer, save  # noqa: E402
from local.gotools import built  # noqa: E402
from local.steps import Failed, run, step  # noqa: E402

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NAMESPACE = "tunmesh-system"
WORKLOADS = ["deployment/tunmesh-operator", "daemonset/tunmesh-node-helper"]
#: Package, program and name of the image of each.
PROGRAMS = [("tunmesh-operator", "tunmesh-operator", "operator"), ("tunmesh-agent", "tunmesh", "agent")]
USER = "65532:65532"
READY_LIMIT = "120s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cluster.argument(parser)
    parser.add_argument("--profile", default="release", help="Cargo's (default: release); figures of other ones say little")
    options = parser.parse_args()
    wanted = options.cluster
    if not kind.ready(wanted):
        raise Failed(f"there is no cluster {wanted.name}: make cluster NAME={wanted.name}")
    with step(f"build programs, profile {options.profile}"):
        programs = build(options.profile)
    with step("make images and load them"), tempfile.TemporaryDirectory() as folder:
        for program, (_, _, name) in zip(programs, PROGRAMS, strict=True):
            archive = Path(folder) / f"{name}.tar"
            image(archive, f"tunmesh.io/e2e/{name}:1", keep(wanted, program))
            kind.load(wanted, archive)
    with step("apply crds/yaml and deploy"):
        kind.kubectl(wanted, "apply", "--server-side", "--force-conflicts", "--filename", str(ROOT / "crds/yaml"))
        kind.kubectl(wanted, "wait", "--for=condition=Established", "--filename", str(ROOT / "crds/yaml"), f"--timeout={READY_LIMIT}")
        install(wanted)
    with step("operator and node helpers ready"):
        for workload in WORKLOADS:
            kind.kubectl(wanted, "--namespace", NAMESPACE, "rollout", "status", workload, f"--timeout={READY_LIMIT}")


def build(profile: str) -> list[Path]:
    """Builds the programs and returns where cargo put each of them."""
    packages = [argument for package, _, _ in PROGRAMS for argument in ("--package", package)]
    command = [os.environ.get("CARGO", "cargo"), "build", "--locked", "--bins", "--profile", profile, "--message-format=json-render-diagnostics", *packages]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}")
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    made = {Path(message["executable"]).name: Path(message["executable"]) for message in messages if message.get("executable")}
    return [made[program] for _, program, _ in PROGRAMS]


def keep(wanted: cluster.Cluster, program: Path) -> Path:
    """Copies the program, without what only a debugger reads, to where tests find what is installed."""
    kept = wanted.folder / "programs" / program.name
    kept.parent.mkdir(exist_ok=True)
    run("strip", "-o", kept, program)
    return kept


def image(output: Path, tag: str, program: Path) -> None:
    """Makes an image of the program with the libraries it loads."""
    layer = Layer()
    layer.folder("/tmp", 0o1777)
    layer.program(f"/usr/bin/{program.name}", program)
    save(output, [tag], layer, {"User": USER, "Entrypoint": [program.name]})


def install(wanted: cluster.Cluster) -> None:
    """Applies deploy with the images. A tag that names another image than before starts nothing anew, so that is asked for."""
    there = kind.kubectl(wanted, "--namespace", NAMESPACE, "get", "deployments", "--output=name")
    manifests = kind.kubectl(wanted, "kustomize", "--load-restrictor=LoadRestrictionsNone", str(HERE / "installed"))
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(manifests)
        file.flush()
        kind.kubectl(wanted, "apply", "--server-side", "--force-conflicts", "--filename", file.name)
    if there.strip():
        kind.kubectl(wanted, "--namespace", NAMESPACE, "rollout", "restart", *WORKLOADS)


main()
