#!/usr/bin/env python3
"""Makes a local Kubernetes cluster with kind, one control plane and two workers, unless it is there already, and says how to use it."""

import argparse
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from local import cluster, kind  # noqa: E402
from local.gotools import built  # noqa: E402

USAGE = """
The cluster {name} is ready, after {seconds:.1f} s. To use it:

  export KUBECONFIG={kubeconfig}
  export PATH={kubectl}:$PATH
  kubectl get nodes
  {folder}/load.py --name {name} IMAGE.tar     puts an image onto its nodes
  {folder}/down.py --name {name}               removes it
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    cluster.argument(parser)
    wanted = parser.parse_args().cluster
    start = time.monotonic()
    kind.up(wanted)
    folder = os.path.relpath(os.path.dirname(os.path.abspath(__file__)))
    print(USAGE.format(name=wanted.name, seconds=time.monotonic() - start, kubeconfig=wanted.kubeconfig, kubectl=built("kubectl").parent, folder=folder))


main()
