#!/usr/bin/env python3
"""Removes a local cluster and all that came with it: processes, namespaces, devices, control groups, files. Does nothing if there is none."""

import argparse
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from local import cluster, kind  # noqa: E402
from local.steps import step  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    cluster.argument(parser)
    wanted = parser.parse_args().cluster
    with step(f"remove the cluster {wanted.name}"):
        kind.down(wanted)


main()
