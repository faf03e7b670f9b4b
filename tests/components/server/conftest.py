# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running_server import Running, put, running, wav
from small_models import Maker, save_small


@pytest.fixture(scope="session")
def served(saved_models: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the small trained model, version 7, whose limits are those of a user."""
    serving = tmp_path_factory.mktemp("serving")
    put(saved_models["trained"], serving, 7)
    with running(serving, poll_s=0.2) as found:
        yield found


@pytest.fixture(scope="session")
def voices(make_voice: Callable) -> list[bytes]:
    """Four WAV files of two seconds."""
    return [wav(make_voice(index % 2, index), 8000) for index in range(4)]


@pytest.fixture
def serving(saved_models: dict[str, str], tmp_path: Path) -> Path:
    """A serving folder of the test's own with version 1."""
    folder = tmp_path / "serving"
    folder.mkdir()
    put(saved_models["trained"], folder, 1)
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """The folder of a small model by its kind."""
    made: dict[str, Path] = {}

    def make(kind: str = "good") -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind) / "model"
            save_small(kind, made[kind])
        return made[kind]

    return make
