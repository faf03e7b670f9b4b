"""Which recordings a command line means: files, folders, patterns."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from beam_jobs.audio import is_recording

STDIN = "-"


class NotFoundError(Exception):
    """Nothing is meant by a path; the text says so in a line."""


def find_recordings(path: str) -> Iterator[str]:
    """The files that a path means: itself, all recordings in a folder and below, or what fits a pattern, in order of their names.

    Raises:
        NotFoundError: there is no such file, or the folder has no recordings.
    """
    if path == STDIN or os.path.isfile(path):  # noqa: PTH113 (a name of bytes that are not UTF-8, as it came)
        yield path
        return
    if Path(path).is_dir():
        found = sorted(_in_folder(path))
        if not found:
            raise NotFoundError(f"{path}: no recordings in this folder")
        yield from found
        return
    matches = [] if os.path.lexists(path) else sorted(glob.glob(path, recursive=True))  # noqa: PTH207 (absolute too)
    if not matches and glob.has_magic(path):
        raise NotFoundError(f"{path}: no file has a name like this")
    if not matches:
        yield path  # whoever opens it says what is wrong
    for match in matches:
        yield from find_recordings(match)


def _in_folder(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if is_recording(name):
                yield str(Path(parent) / name)
