# SPDX-License-Identifier: Apache-2.0
"""Examples in docstrings of public functions run as they stand, on a small corpus and a trained model."""

import doctest
import importlib
import shutil
from pathlib import Path

import pytest
import soundfile

from tools.docs.reference import API

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NEED_A_MODEL = ("components.inference", "components.inference.model", "components.inference.live")
MODULES = sorted({*API, *NEED_A_MODEL})


@pytest.fixture
def here(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: Path, make_tone) -> Path:
    """A folder with what the examples name: `corpus`, `voice.flac`, and `work/serving` where one asks a model."""
    (tmp_path / "corpus").symlink_to(corpus)
    soundfile.write(tmp_path / "voice.flac", make_tone(120, 2.0), 16_000)
    if request.getfixturevalue("module") in NEED_A_MODEL:
        shutil.copytree(request.getfixturevalue("trained").serving_model_dir, tmp_path / "work/serving/1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", MODULES)
def test_examples_hold(module: str, here: Path) -> None:
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner(optionflags=OPTIONS)
    heard: list[str] = []
    for test in finder.find(importlib.import_module(module)):
        runner.run(test, out=heard.append)
    assert runner.failures == 0, "".join(heard)


def test_what_users_call_first_has_an_example() -> None:
    for module, names in {"components.inference": ("load_model", "listen"), "pipeline.config": ("load_config",)}.items():
        for name in names:
            assert ">>> " in getattr(importlib.import_module(module), name).__doc__, name
