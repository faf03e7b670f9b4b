# SPDX-License-Identifier: Apache-2.0
"""What `corpus info` says of a corpus and its recordings; the faults are made by sox and ffmpeg where these are there."""

import re
import shutil
import subprocess
from pathlib import Path

import layouts
import numpy as np
import pytest
import soundfile

from beam_jobs.corpus.checks import FAULTS, Check, check_recordings, enough_for_splits, is_clipped, is_narrow
from beam_jobs.corpus.contents import read_contents
from beam_jobs.corpus.listing import Labelling
from beam_jobs.corpus.pages import statistics_page
from beam_jobs.corpus.readers import read_corpus
from pipeline import cli

RATE_HZ = 16_000


def faults_of(samples: np.ndarray, rate_hz: int = RATE_HZ) -> set[str]:
    return {fault for fault, has in FAULTS.items() if has(samples.astype(np.float32), rate_hz)}


def test_sound_speech_has_no_fault(make_tone, request: pytest.FixtureRequest) -> None:
    noise = 1e-3 * np.random.default_rng(0).standard_normal(3 * RATE_HZ)
    assert faults_of(make_tone(120, 3.0) + noise) == set()
    time = np.arange(3 * RATE_HZ) / RATE_HZ
    # The peaks of a low sine are flat to a sample or two; and it has nothing above 4.5 kHz.
    assert faults_of(0.99 * np.sin(2 * np.pi * 60 * time) + noise) == {"nothing above 4.5 kHz"}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda x: 0 * x, "silent"),
        (lambda x: 1e-3 * x, "silent"),
        (lambda x: 4 * x, "above full scale"),
        (lambda x: np.clip(4 * x, -1, 1), "clipped"),
        (lambda x: np.round(32767 * 0.5 * np.clip(3 * x, -0.9, 0.7)) / 32768, "clipped"),
        (lambda x: x + 0.05, "an offset (DC)"),
    ],
)
def test_each_fault_is_found(make_tone, change, fault: str) -> None:
    noise = 1e-3 * np.random.default_rng(0).standard_normal(3 * RATE_HZ)
    assert fault in faults_of(change(make_tone(120, 3.0) + noise))


@pytest.fixture(scope="module")
def real_speech() -> Path:
    root = next((found for folder in Path(__file__).parents if (found := folder / "shared/data/LibriSpeech").is_dir()), None)
    if root is None or not shutil.which("sox"):
        pytest.skip("shared/data or sox is not there (Debian: apt install sox)")
    return root


def test_what_sox_does_to_real_speech_is_found(real_speech: Path, tmp_path: Path) -> None:
    paths = sorted(real_speech.glob("*/*/*/*.flac"))[::25]
    for effect, has in ((["gain", "-n", "12"], is_clipped), (["rate", "8000", "rate", "16000"], is_narrow)):
        found = {"before": 0, "after": 0}
        for path in paths:
            subprocess.run(["sox", "-V1", path, tmp_path / "a.wav", *effect], check=True)
            found["before"] += has(*soundfile.read(path, dtype="float32"))
            found["after"] += has(*soundfile.read(tmp_path / "a.wav", dtype="float32"))
        assert found == {"before": 0, "after": len(paths)}, effect


@pytest.fixture
def faulty(corpus: Path, tmp_path: Path) -> Path:
    """A LibriSpeech folder with a fault of each kind in a file of a woman's, number 11."""
    root = layouts.librispeech(corpus, tmp_path / "corpus")
    folder = root / "tones/11/1"
    samples, rate_hz = soundfile.read(folder / "11-1-0000.flac")
    for number, changed in enumerate((0 * samples, np.clip(4 * samples, -1, 1), samples + 0.1, samples[:3000]), start=3):
        soundfile.write(folder / f"11-1-{number:04d}.flac", changed, rate_hz)
    soundfile.write(folder / "11-1-0009.flac", samples[::2], 8000)
    shutil.copy(folder / "11-1-0000.flac", folder / "11-1-0010.flac")
    shutil.copy(folder / "11-1-0001.flac", root / "tones/12/1/12-1-0010.flac")
    return root


def test_faults_are_counted_by_label(faulty: Path) -> None:
    index = read_corpus(faulty)
    checks = {check.fault: check for check in check_recordings(index, read_contents(index))}

    one = {"male": 0, "female": 1}
    assert checks["shorter than 1 s"] == Check("shorter than 1 s", one, 43, "tones/11/1/11-1-0006.flac")
    assert checks["a sample rate other than 16,000 Hz"].example == "tones/11/1/11-1-0009.flac"
    assert checks["the same bytes as another file"].counts == {"male": 1, "female": 1}
    assert checks["the same bytes under two speakers or labels"].example == "tones/11/1/11-1-0001.flac"
    for fault, number in (("silent", 3), ("clipped", 4), ("an offset (DC)", 5)):
        assert (checks[fault].counts, checks[fault].example) == (one, f"tones/11/1/11-1-000{number}.flac")
    assert checks["above full scale"].number == checks["damaged: cannot be decoded"].number == 0


def test_one_speaker_s_recording_under_two_labels_is_counted(corpus: Path, tmp_path: Path) -> None:
    first, second = sorted(corpus.rglob("*.flac"))[:2]
    for label, source in (("happy", first), ("sad", first), ("sad", second)):
        (tmp_path / label).mkdir(exist_ok=True)
        shutil.copyfile(source, tmp_path / label / f"anna-{source.name}")
    index = read_corpus(tmp_path, labelling=Labelling(speaker_pattern="(?P<speaker>[a-z]+)-"))
    checks = {check.fault: check for check in check_recordings(index, read_contents(index))}
    assert checks["the same bytes under two speakers or labels"].number == 1


def test_too_few_speakers_are_said_before_anything_else(faulty: Path, capsys, monkeypatch) -> None:
    table = faulty / "SPEAKERS.TXT"

    def said() -> list[str]:
        monkeypatch.setattr("sys.argv", ["audio-gender", "corpus", "info", str(faulty), "--html", str(faulty / "a.html")])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out.splitlines()

    lines = said()
    assert lines[0] == "enough for three splits: 6 male, 6 female speakers, where 3 of each are needed"
    table.write_text(re.sub(r"(?m)^(1[579]|21) \| F", r"\1 | X", table.read_text()))

    lines = said()

    assert lines[0].startswith(
        "not enough for three splits: the splits need at least 3 speakers of each label and the corpus has 2"
    )
    text = "\n".join(lines)
    assert "Recordings to look at" in text and "tones/11/1/11-1-0003.flac" in text
    assert "looked for and not found: damaged" in text
    assert "left out: 4 speakers without a usable label: 15, 17, 19, 21" in text
    page = (faulty / "a.html").read_text()
    assert "<strong>not enough for three splits" in page and "tones/11/1/11-1-0003.flac" in page


def test_a_page_without_faults_says_what_was_looked_for(index) -> None:
    assert enough_for_splits(index)[0]
    page = statistics_page(index, "LibriSpeech", "", [Check("silent", {"male": 0, "female": 0}, 36, "")])
    assert "Looked for and not found: silent." in page and 'class="checks"' not in page
