# SPDX-License-Identifier: Apache-2.0
"""The exported model served by `audio-gender serve`, in a process of its own, and a real Triton in an environment of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import COMMAND, environment
from processes import CACHE, Processes, answers
from training_inputs import voice

TRITON, SYSTEM_PYTHON = CACHE / "triton", Path("/usr/bin/python3.11")
TRITON_PACKAGES = ("nvidia-pytriton==0.7.0", "tensorflow-cpu==2.21.*")


@pytest.fixture(scope="session", autouse=True)
def asked_for() -> None:
    if not os.environ.get("RUN_SERVING"):
        pytest.skip("`make test-serving` runs a real Triton and 10,000 requests (10 minutes)")


@pytest.fixture(scope="session")
def triton_python() -> Path:
    """The interpreter that has nvidia-pytriton, installed once."""
    python, uv = TRITON / "bin/python", Path(sys.prefix, "bootstrap/bin/uv")
    if not SYSTEM_PYTHON.exists():
        pytest.skip(f"needs the system's Python 3.11: no {SYSTEM_PYTHON}")
    if not (TRITON / "ready").exists():
        subprocess.run([uv, "venv", "-q", "--clear", "--python", SYSTEM_PYTHON, TRITON], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", python, *TRITON_PACKAGES], check=True, timeout=1800)
        (TRITON / "ready").touch()
    return python


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    found = Processes(tmp_path)
    yield found
    found.stop()


@pytest.fixture
def serve(processes: Processes) -> Callable[[Path, int], None]:
    """A function that starts `audio-gender serve` on a folder and a port and waits until it answers."""

    def start(serving: Path, port: int) -> None:
        command = [*COMMAND, "serve", "--serving", serving, "--port", str(port)]
        processes.start("serve", command, environment())
        processes.wait_until(lambda: answers(port), "serve")

    return start


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """WAV files of voices, of unequal lengths, rates and encodings; silence; and what is no WAV file."""
    folder = tmp_path_factory.mktemp("recordings")
    for k in range(6):
        samples = voice(k % 2, k, num_samples=8000 + 3000 * k)
        soundfile.write(folder / f"{k}.wav", samples, 8000, subtype=("PCM_16", "FLOAT", "PCM_24")[k % 3])
    soundfile.write(folder / "6.wav", np.stack([voice(1, 7), voice(1, 7)], axis=1), 44_100)
    soundfile.write(folder / "7.wav", np.zeros(8000), 8000)
    (folder / "8.wav").write_bytes(b"text")
    return folder
