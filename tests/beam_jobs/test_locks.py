# SPDX-License-Identifier: Apache-2.0
"""Locks, seen by util-linux's flock."""

import subprocess
from pathlib import Path

import pytest

from beam_jobs.locks import is_locked, lock


def free_for_flock(path: Path) -> bool:
    return subprocess.run(["flock", "--nonblock", path, "true"]).returncode == 0


@pytest.mark.parametrize("name", [".lock", ""])
def test_a_file_or_a_folder_is_held_until_the_end(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with lock(path, wait=False):
        assert not free_for_flock(path)
        with pytest.raises(BlockingIOError):
            lock(path, wait=False)
    assert free_for_flock(path)


def test_another_programs_lock_is_seen_and_gone_when_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    assert not is_locked(path)
    assert not path.exists()
    with subprocess.Popen(["flock", "--no-fork", path, "sh", "-c", "echo held; exec sleep 60"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert is_locked(path)
        holder.kill()
    with lock(path, wait=True):
        pass
