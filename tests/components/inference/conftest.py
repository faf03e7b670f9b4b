# SPDX-License-Identifier: Apache-2.0
"""A model in a serving folder, and recordings for it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from components.inference import load_model

MALE, FEMALE = 0, 1


@pytest.fixture(scope="session")
def serving(trained, tmp_path_factory) -> Path:
    """A serving folder with the small model of 8 kHz as version 2, and an older version that holds nothing."""
    folder = tmp_path_factory.mktemp("serving")
    shutil.copytree(trained.serving_model_dir, folder / "2")
    (folder / "1").mkdir()
    return folder


@pytest.fixture(scope="session")
def model(serving):
    return load_model(serving)


@pytest.fixture(scope="session")
def dialogue(make_voice) -> np.ndarray:
    """One voice of 6 s, 3 s of silence, the other of 6 s; 8 kHz."""
    return np.concatenate(
        [make_voice(MALE, 90, 64_000)[:48_000], np.zeros(24_000, np.float32), make_voice(FEMALE, 91, 64_000)[:48_000]]
    )
