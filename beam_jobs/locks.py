# SPDX-License-Identifier: Apache-2.0
"""Locks between processes, which the system drops when their holder dies.

Own code and not filelock: it is one system call, a folder can be locked itself, and to look takes no lock from anybody.
"""

import fcntl
import os
from contextlib import ExitStack
from pathlib import Path


def lock(path: Path, wait: bool) -> ExitStack:
    """Makes this process the only one that holds `path`, a folder or a file that is made where there is none.

    Returns:
        A context manager, at whose end it is free again.

    Raises:
        BlockingIOError: another process holds it, and `wait` is false.
        OSError: it cannot be opened.
    """
    with ExitStack() as stack:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        return stack.pop_all()


def is_locked(path: Path) -> bool:
    """Whether another process holds `path`; nobody does where it is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
