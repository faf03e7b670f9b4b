# SPDX-License-Identifier: Apache-2.0
"""The one walk over a folder and all below it.

It swallows nothing: `Path.glob`, `Path.rglob` and `os.walk` pass over what they may not read.
"""

import errno
import os
from collections.abc import Callable, Container, Iterator
from pathlib import Path

Problem = Callable[[OSError], None]


def files_below(
    folder: str | Path,
    problem: Problem | None = None,
    skip: Callable[[str], bool] | None = None,
    skipped_here: Container[str] = (),
) -> Iterator[str]:
    """The paths of all files below a folder, relative to it, with `/`, sorted; links to folders are followed.

    Links that lead nowhere, pipes and devices are files here: whoever opens one says what is wrong.

    Args:
        folder: where to begin.
        problem: is told of each folder that cannot be read (`filename` is its path below `folder`), and of each link to a folder
            that it lies in (ELOOP), and then the walk goes on. None: it is raised.
        skip: which names of files and folders are passed over.
        skipped_here: names that are passed over in `folder` itself.

    Raises:
        OSError: a folder cannot be read, or is a link to one that it lies in, where `problem` is None.
    """
    skip = skip or (lambda name: False)
    yield from _below(os.fspath(folder), "", (), problem or _raise, skip, skipped_here)


def _raise(error: OSError) -> None:
    raise error


def _below(
    folder: str,
    path: str,
    above: tuple[tuple[int, int], ...],
    problem: Problem,
    skip: Callable[[str], bool],
    skipped_here: Container[str] = (),
) -> Iterator[str]:
    # A folder that it is asked for itself may be a link; what matters is where that leads.
    here = os.path.join(folder, path) if path else folder  # noqa: PTH118 (a Path's own costs several times as much)
    try:
        state = os.stat(here)  # noqa: PTH116
        if (state.st_dev, state.st_ino) in above:
            raise OSError(errno.ELOOP, "a link to a folder that it lies in")
        with os.scandir(here) as found:
            entries = sorted(
                (entry.name, _is_folder(entry)) for entry in found if not (skip(entry.name) or entry.name in skipped_here)
            )
    except OSError as error:
        problem(OSError(error.errno, error.strerror, path or folder))
        return
    for name, is_folder in entries:
        below = f"{path}/{name}" if path else name
        if is_folder:
            yield from _below(folder, below, (*above, (state.st_dev, state.st_ino)), problem, skip)
        else:
            yield below


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that may not be entered: a file that cannot be opened
        return False


def is_hidden(name: str) -> bool:
    """Whether a name begins with a dot, as the `._…` that macOS writes beside each file on other systems' disks."""
    return name.startswith(".")
