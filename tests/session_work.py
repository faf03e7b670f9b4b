"""Costly work of a test session, done once for all of pytest-xdist's processes."""

import fcntl
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], T]) -> T:
    """What `make(new_folder)` returns: the first process that asks has it made, the others wait and read its pickle.

    The folder belongs to all of them: a test that changes something in there takes a copy.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each process has a folder of its own in it
    result = root / f"{name}.pickle"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            result.write_bytes(pickle.dumps(make(Path(tempfile.mkdtemp(prefix=f"{name} ", dir=root)))))
    return pickle.loads(result.read_bytes())
