# SPDX-License-Identifier: Apache-2.0
"""Which recordings a command line means: files, folders, patterns."""

import errno
import glob
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from beam_jobs.audio import is_recording
from beam_jobs.folders import files_below, is_hidden

STDIN = "-"


class NotFoundError(Exception):
    """Nothing is meant by a path; the text says so in a line."""


def find_recordings(path: str, problem: Callable[[str], None]) -> Iterator[str]:
    """The files that a path means: itself, all recordings in a folder and below, or what fits a pattern, in order of their names.

    `problem` is told, in a line, of each folder below that cannot be read.

    Raises:
        NotFoundError: there is no such file, or the folder has no recordings.
    """
    if path == STDIN or os.path.isfile(path):  # noqa: PTH113 (a name of bytes that are not UTF-8, as it came)
        yield path
        return
    if Path(path).is_dir():
        found = sorted(_in_folder(path, problem))
        if not found:
            raise NotFoundError(f"{path}: no recordings in this folder")
        yield from found
        return
    matches = [] if os.path.lexists(path) else sorted(glob.glob(path, recursive=True))  # noqa: PTH207 (absolute too)
    if not matches and glob.has_magic(path):
        raise NotFoundError(f"{path}: no file matches this pattern")
    if not matches:
        yield path  # whoever opens it says what is wrong
    for match in matches:
        yield from find_recordings(match, problem)


def _in_folder(folder: str, problem: Callable[[str], None]) -> Iterator[str]:
    def unread(error: OSError) -> None:
        # What lies behind a link back is found anyway.
        if error.errno != errno.ELOOP:
            place = error.filename if error.filename == folder else str(Path(folder) / error.filename)
            problem(f"{place}: a folder that cannot be read ({error.strerror})")

    for path in files_below(folder, unread, is_hidden):
        if is_recording(path.rsplit("/", 1)[-1]):
            yield str(Path(folder) / path)
