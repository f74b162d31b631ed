"""Container images made from files: one layer, owned by root, with fixed times, so that the same files give the same image."""

import hashlib
import io
import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from .machine import architecture

SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Layer:
    """Files by their absolute path in the image; folders above them come by themselves."""

    entries: dict[str, tuple[tarfile.TarInfo, Path | bytes | None]] = field(default_factory=dict)

    def file(self, path: str, source: Path, mode: int | None = None) -> None:
        """Adds the file that `source` is or points to; its own mode if none is given."""
        info = self.info(path, mode if mode is not None else source.stat().st_mode & 0o7777)
        info.size = source.stat().st_size
        self.entries[path] = (info, source)

    def text(self, path: str, content: str) -> None:
        info, data = self.info(path, 0o644), content.encode()
        info.size = len(data)
        self.entries[path] = (info, data)

    def link(self, path: str, target: str) -> None:
        info = self.info(path, 0o777)
        info.type, info.linkname = tarfile.SYMTYPE, target
        self.entries[path] = (info, None)

    def folder(self, path: str, mode: int = 0o755) -> None:
        info = self.info(path, mode)
        info.type = tarfile.DIRTYPE
        self.entries[path] = (info, None)

    def program(self, path: str, source: Path, root: Path = Path("/")) -> None:
        """Adds a program and the shared libraries it loads, as found in `root`, of which `source` is a part."""
        self.file(path, source, 0o755)
        for library in libraries(source, root):
            self.file(library, root / library.lstrip("/"))

    def info(self, path: str, mode: int) -> tarfile.TarInfo:
        for parent in list(Path(path).parents)[-2::-1]:
            if str(parent) not in self.entries:
                self.folder(str(parent))
        info = tarfile.TarInfo(path.lstrip("/"))
        info.mode = mode
        return info

    def write(self, output: BinaryIO) -> None:
        with tarfile.open(fileobj=output, mode="w") as tar:
            for info, content in self.entries.values():
                if isinstance(content, Path):
                    with content.open("rb") as data:
                        tar.addfile(info, data)
                else:
                    tar.addfile(info, io.BytesIO(content) if content is not None else None)


def libraries(program: Path, root: Path) -> list[str]:
    """Absolute paths in `root` of what the dynamic loader brings in for `program`, itself included; none for a static program."""
    inside = "/" / program.relative_to(root) if root != Path("/") else program
    command = ["ldd", str(inside)] if root == Path("/") else ["chroot", str(root), "ldd", str(inside)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return sorted(set(re.findall(r"(/\S+\.so\S*) \(0x", listed.stdout)))


def save(output: Path, tags: list[str], layer: Layer, config: Mapping[str, object]) -> None:
    """Writes an archive that `docker load`, `ctr images import` and `kind load image-archive` take. `config` is an image's `config` in OCI words."""
    with tempfile.TemporaryFile(dir=output.parent) as data, output.open("wb") as archive:
        layer.write(data)
        write(archive, tags, data, config)


def write(output: BinaryIO, tags: list[str], layer: BinaryIO, config: Mapping[str, object]) -> None:
    """Writes such an archive from the tar of its layer."""
    digest, size = digest_and_size(layer)
    document = {
        "architecture": architecture(),
        "os": "linux",
        "config": {"Env": [SEARCH_PATH], **config},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    image = json.dumps(document).encode()
    name = f"{hashlib.sha256(image).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": tags, "Layers": [f"{digest}.tar"]}]).encode()
    files = [(name, len(image), io.BytesIO(image)), ("manifest.json", len(manifest), io.BytesIO(manifest)), (f"{digest}.tar", size, layer)]
    with tarfile.open(fileobj=output, mode="w") as tar:
        for path, length, content in files:
            info = tarfile.TarInfo(path)
            info.size = length
            tar.addfile(info, content)


def digest_and_size(data: BinaryIO) -> tuple[str, int]:
    """SHA-256 and length in bytes of all of it; leaves it at its beginning."""
    sha = hashlib.sha256()
    data.seek(0)
    while part := data.read(1 << 20):
        sha.update(part)
    size = data.tell()
    data.seek(0)
    return sha.hexdigest(), size
