# SPDX-License-Identifier: Apache-2.0
"""What tests of several packages build on: a small corpus of harmonic tones in LibriSpeech's layout."""

import ctypes
import gc
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import settings

from beam_jobs.config import ClipsConfig, NumClips, Range
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.librispeech import read_librispeech
from components.process_arguments import hidden_arguments

pytest_plugins = ["training_inputs"]


@pytest.fixture(autouse=True)
def no_arguments() -> Iterator[None]:
    """Executors that tests make themselves see none of pytest's arguments; runners take care of theirs."""
    with hidden_arguments():
        yield


@pytest.fixture(scope="module", autouse=True)
def memory_is_given_back() -> Iterator[None]:
    """Loaded models refer to themselves, and glibc keeps what was freed."""
    yield
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


# Whatever starts the tests in the background, or under nohup, has them ignore these, their children too; some tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A busy machine makes any single example slow: time is no property of the code under test.
settings.register_profile("default without deadline", deadline=None)
settings.load_profile("default without deadline")

SAMPLE_RATE_HZ = 16_000
SUBSET = "tones"
SPEAKERS = {str(11 + k): ("F", "M")[k % 2] for k in range(12)}


def tone(pitch_hz: float, duration_s: float, seed: int = 0, sample_rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Harmonics of a slowly wavering pitch with a little noise: float32 [samples], peak about 0.5."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(duration_s * sample_rate_hz)) / sample_rate_hz
    phase = 2 * np.pi * pitch_hz * (time + 0.002 * np.sin(2 * np.pi * 3 * time))
    samples = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 9)) + 0.02 * rng.standard_normal(len(time))
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)


def write_corpus(root: Path) -> None:
    """12 speakers, 6 of them female (ids 11, 13, …), with 3 utterances of 2 to 4 s each."""
    lines = [";ID |SEX|SUBSET|MINUTES|NAME\n"]
    for speaker, sex in SPEAKERS.items():
        pitch_hz = (210 if sex == "F" else 110) + 2 * int(speaker)
        lines.append(f"{speaker} | {sex} | {SUBSET} | 0.15 | Tone | of {pitch_hz} Hz\n")
        folder = root / SUBSET / speaker / "1"
        folder.mkdir(parents=True)
        for k in range(3):
            path = folder / f"{speaker}-1-{k:04d}.flac"
            soundfile.write(path, tone(pitch_hz, 2.0 + k, seed=int(speaker) + k), SAMPLE_RATE_HZ, subtype="PCM_16")
    (root / "SPEAKERS.TXT").write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, to be read only."""
    root = tmp_path_factory.mktemp("corpus") / "tones"
    write_corpus(root)
    return root


@pytest.fixture(scope="session")
def index(corpus: Path) -> SpeakerIndex:
    """Who speaks in the corpus."""
    return read_librispeech(corpus)


@pytest.fixture
def own_corpus(tmp_path: Path) -> Path:
    """A corpus of the test's own, to be spoilt."""
    root = tmp_path / "own corpus"
    write_corpus(root)
    return root


@pytest.fixture(scope="session")
def make_tone() -> Callable[..., np.ndarray]:
    """`tone(pitch_hz, duration_s, seed=0, sample_rate_hz=16_000)`."""
    return tone


@pytest.fixture(scope="session")
def make_config() -> Callable[..., ClipsConfig]:
    """`make_config(**changes)`: short clips of all three classes, at a rate that makes resampling needful."""

    def make(**changes: Any) -> ClipsConfig:
        settings: dict[str, Any] = {
            "seed": 3,
            "duration_s": 3.0,
            "sample_rate_hz": 11_025,
            "num_clips": NumClips(train=8, eval=3, test=3),
            "clips_per_shard": 3,
            "mixed_share": 0.25,
            "max_utterances": 3,
            "pause_s": Range(min=0.0, max=0.5),
            "min_speech_s": 0.5,
        }
        return ClipsConfig(**{**settings, **changes})

    return make
