"""An object store in a folder. It knows keys, so no empty folder outlives it."""

import shutil
from pathlib import Path


class ObjectStore:
    """`minio://bucket/key` is the file `root/minio/bucket/key`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def upload(self, path: Path, uri: str) -> None:
        """A file under this key, or the files of a folder under keys that begin with it; nothing where there is no path."""
        for file in [path] if path.is_file() else sorted(entry for entry in path.rglob("*") if entry.is_file()):
            target = self._path(uri) / file.relative_to(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)

    def download(self, uri: str, path: Path) -> None:
        """What is under this key; nothing where there is nothing."""
        source = self._path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, path, dirs_exist_ok=True)
        elif source.is_file():
            shutil.copyfile(source, path)

    def folder(self, uri: str) -> Path:
        """Where to look at it, or to spoil it."""
        return self._path(uri)

    def _path(self, uri: str) -> Path:
        scheme, _, key = uri.partition("://")
        return self.root / scheme / key
