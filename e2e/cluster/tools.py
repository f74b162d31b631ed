#!/usr/bin/env python3
"""Builds pinned programs from Go modules, unless the cache has them, and prints their paths, a line for each, in the order asked."""

import argparse
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from local import gotools  # noqa: E402
from local.steps import Failed  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=sorted(gotools.TOOLS), metavar="NAME", help=f"some of {', '.join(sorted(gotools.TOOLS))}")
    parser.add_argument("--built", action="store_true", help="build nothing; exit 1 if one is not there")
    options = parser.parse_args()
    if options.built:
        missing = [name for name in options.names if not gotools.place(name).exists()]
        if missing:
            raise Failed(f"not built yet; do: python3 {sys.argv[0]} {' '.join(missing)}")
    for name in options.names:
        print(gotools.built(name), flush=True)


main()
