# SPDX-License-Identifier: Apache-2.0
"""Paths that a user or a corpus names: what they may be, before anything is opened."""

import errno
import os
import stat
from pathlib import Path

from beam_jobs.errors import UserError

SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
OPENED_BY_THE_SHELL = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


def check_file(path: str | Path) -> None:
    """Makes sure that `path` can be read to its end: opening a named pipe may wait for ever, and a device may have none.

    What the shell has opened, as in `--config <(…)`, is let through.

    Raises:
        OSError: it is no file, in `strerror` and in words, or it is not there.
    """
    kind = SPECIAL.get(stat.S_IFMT(os.stat(path).st_mode))  # noqa: PTH116 (a Path's own costs twice as much)
    if kind and not str(path).startswith(OPENED_BY_THE_SHELL):
        raise OSError(errno.EINVAL, f"{kind}, not a file", str(path))


def is_uri(path: str | Path) -> bool:
    """Whether this is an address such as `s3://bucket/folder`, and no local path."""
    return "://" in str(path)


def local_path(text: str) -> Path:
    """A path on this machine, for options that take no other.

    Raises:
        UserError: it is an address, of which a `Path` would make a local folder `s3:`.
    """
    if is_uri(text):
        raise UserError(f"{text}: must be a path on this machine; give one that does not start with {text.split('://')[0]}://")
    return Path(text)
