# SPDX-License-Identifier: Apache-2.0
"""Costly work of a test session, done once for all of pytest-xdist's processes."""

import fcntl
import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Runs the body in one process at a time of those that name the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], T]) -> T:
    """What `make(new_folder)` returns: the first process that asks has it made, the others wait and read its pickle.

    The folder belongs to all of them: a test that changes something in there takes a copy.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each process has a folder of its own in it
    result = root / f"{name}.pickle"
    with locked(root / f"{name}.lock"):
        if not result.exists():
            result.write_bytes(pickle.dumps(make(Path(tempfile.mkdtemp(prefix=f"{name} ", dir=root)))))
    return pickle.loads(result.read_bytes())
