#!/usr/bin/env python3
"""Makes a container image of one layer from files of this machine, without an engine.

A program is put in with the shared libraries it loads, so that it runs with nothing else in the image.
"""

import argparse
import os
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from local.archive import Layer, save  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, metavar="TAR")
    parser.add_argument("--tag", action="append", required=True, help="NAME:TAG, with the registry in front; may be given more than once")
    parser.add_argument("--program", action="append", type=pair, default=[], metavar="SOURCE:PATH", help="a program, at PATH in the image")
    parser.add_argument("--file", action="append", type=pair, default=[], metavar="SOURCE:PATH", help="any other file, with its own mode")
    parser.add_argument("--entrypoint", nargs="+", default=[], metavar="WORD")
    parser.add_argument("--user", default="65532:65532", help="UID or UID:GID (default: 65532:65532)")
    options = parser.parse_args()
    layer = Layer()
    layer.folder("/tmp", 0o1777)
    for source, path in options.program:
        layer.program(path, source)
    for source, path in options.file:
        layer.file(path, source)
    save(options.output.resolve(), options.tag, layer, {"User": options.user, "Entrypoint": options.entrypoint})


def pair(text: str) -> tuple[Path, str]:
    source, _, path = text.rpartition(":")
    if not path.startswith("/") or not Path(source).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is not FILE:ABSOLUTE-PATH")
    return Path(source).resolve(), path


main()
