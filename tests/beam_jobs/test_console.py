# SPDX-License-Identifier: Apache-2.0
"""Where libraries' noise goes."""

import subprocess
import sys
from pathlib import Path

import pytest

from beam_jobs.console import noise_to


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_noise_goes_to_the_log_and_the_terminal_comes_back(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from beam_jobs.console import noise_to, say
with noise_to(Path(sys.argv[1])):
    print("printed"); os.write(1, b"from C\\n"); os.write(2, b"and its stderr\\n"); say("said")
print("after")
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a/log"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "after\n", "said\n")
    assert sorted((tmp_path / "a/log").read_text().splitlines()) == ["and its stderr", "from C", "printed"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_no_descriptor_open(tmp_path: Path, error: type[BaseException]) -> None:
    before = open_descriptors()
    with pytest.raises(error), noise_to(tmp_path / "log"):
        raise error
    assert open_descriptors() == before


def test_a_log_that_cannot_be_written_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = open_descriptors()
    with pytest.raises(IsADirectoryError), noise_to(tmp_path):
        pass
    assert open_descriptors() == before
