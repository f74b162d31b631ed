#!/usr/bin/env python3
"""Puts images, archives as image.py or `docker save` write them, onto every node of a local cluster."""

import argparse
import os
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from local import cluster, kind  # noqa: E402
from local.steps import step  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    cluster.argument(parser)
    parser.add_argument("archives", nargs="+", type=Path, metavar="TAR")
    options = parser.parse_args()
    for archive in options.archives:
        with step(f"load {archive}"):
            kind.load(options.cluster, archive.resolve())


main()
