# SPDX-License-Identifier: Apache-2.0
"""The demo corpus: spoken by espeak-ng, read back as any corpus is."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_jobs.corpus.librispeech import read_librispeech
from beam_jobs.corpus.sentences import SENTENCES
from beam_jobs.corpus.splits import split_speakers
from beam_jobs.corpus.synthetic import ACCENTS, VARIANTS, cast_voices, synthesise_corpus
from beam_jobs.errors import UserError

needs_espeak = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import espeakng_loader"], capture_output=True).returncode != 0,
    reason="espeakng-loader is not installed: make setup",
)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six speakers with two utterances each."""
    dest = tmp_path_factory.mktemp("synthetic") / "corpus"
    synthesise_corpus(dest, num_speakers=6, utterances_per_speaker=2, seed=3)
    return dest


@needs_espeak
def test_it_reads_as_a_corpus_and_splits(corpus: Path) -> None:
    index = read_librispeech(corpus)

    assert [speaker.label for speaker in index.speakers] == ["female", "male"] * 3
    assert [len(speaker.utterances) for speaker in index.speakers] == [2] * 6
    assert (index.unlisted, index.rejected) == ((), ())
    assert [len(split) for split in split_speakers(index.speakers, seed=0).values()] == [2, 2, 2]


@needs_espeak
def test_the_audio_is_16_khz_16_bit_mono_speech_of_3_to_12_s(corpus: Path) -> None:
    for utterance in read_librispeech(corpus).utterances():
        info = soundfile.info(corpus / utterance.path)
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", 16_000, 1)
        assert 3 <= utterance.duration_s <= 12
        samples, _ = soundfile.read(corpus / utterance.path)
        assert 0.02 < np.sqrt(np.mean(samples**2)) < 0.5


@needs_espeak
def test_no_two_utterances_sound_the_same(corpus: Path) -> None:
    audio = [content for path, content in contents(corpus).items() if path.endswith(".flac")]
    assert len(set(audio)) == len(audio) == 12


@needs_espeak
def test_the_speaker_list_counts_minutes_and_names_the_voice(corpus: Path) -> None:
    lines = (corpus / "SPEAKERS.TXT").read_text().splitlines()
    assert lines[2] == ";ID  |SEX| SUBSET           |MINUTES| NAME"
    fields = [field.strip() for field in lines[3].split("|")]
    speaker = read_librispeech(corpus).speakers[0]
    assert fields[:3] == [speaker.id, "F", "synth"]
    assert float(fields[3]) == pytest.approx(speaker.duration_s / 60, abs=0.01)
    assert fields[4].split("+")[0] in ACCENTS


@needs_espeak
def test_the_same_seed_gives_the_same_bytes_whatever_was_said_before(corpus: Path, tmp_path: Path) -> None:
    synthesise_corpus(tmp_path / "other", num_speakers=2, utterances_per_speaker=1, seed=4)
    synthesise_corpus(tmp_path / "same", num_speakers=6, utterances_per_speaker=2, seed=3)
    program = (
        "import pathlib, sys; from beam_jobs.corpus.synthetic import synthesise_corpus\n"
        "synthesise_corpus(pathlib.Path(sys.argv[1]), num_speakers=6, utterances_per_speaker=2, seed=3)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "process"], check=True)

    assert contents(tmp_path / "same") == contents(tmp_path / "process") == contents(corpus)
    assert contents(tmp_path / "other")["synth/1001/1/1001-1-0000.flac"] not in contents(corpus).values()


def test_the_cast_is_half_female_with_every_accent_and_overlapping_pitch() -> None:
    voices = cast_voices(40, seed=0)
    female, male = voices[::2], voices[1::2]

    assert {voice.label for voice in female} == {"female"} and {voice.label for voice in male} == {"male"}
    for half, label in ((female, "female"), (male, "male")):
        assert {voice.accent for voice in half} == set(ACCENTS)
        assert {voice.variant for voice in half} == set(VARIANTS[label])
        assert len({(voice.accent, voice.variant) for voice in half}) == 20
        assert len({voice.pitch for voice in half}) > 8 and len({voice.rate_wpm for voice in half}) > 8
    assert len({voice.id for voice in voices}) == 40


def test_more_speakers_leave_the_first_as_they_are() -> None:
    assert cast_voices(60, seed=1)[:40] == cast_voices(40, seed=1)


@needs_espeak
def test_every_voice_is_shipped_with_the_wheel() -> None:
    """espeak-ng speaks a variant that it does not know in its default voice, without a word."""
    import espeakng_loader

    variants = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    for label, names in VARIANTS.items():
        for name in names:
            words = [line.split() for line in (variants / name).read_text().splitlines()]
            assert label in [line[1] for line in words if line[:1] == ["gender"]], name


def test_the_sentences_differ() -> None:
    assert len(set(SENTENCES)) == len(SENTENCES) == 60


@needs_espeak
def test_progress_counts_utterances(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    synthesise_corpus(tmp_path / "corpus", 2, 2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


@needs_espeak
def test_an_empty_folder_is_filled_and_a_link_to_one_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk/empty").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk/empty")
    synthesise_corpus(tmp_path / "link", 2, 1)
    assert len(read_librispeech(tmp_path / "disk/empty").speakers) == 2
    assert (tmp_path / "link").is_symlink()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="already exists and is not an empty folder"):
        synthesise_corpus(tmp_path)
    with pytest.raises(UserError, match="already exists and is not an empty folder"):
        synthesise_corpus(tmp_path / "notes.txt")
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_a_place_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .*name another folder"):
        synthesise_corpus(tmp_path / "file" / "corpus")


@pytest.mark.parametrize(("num_speakers", "utterances"), [(1, 4), (0, 4), (-2, 4), (40, 0)])
def test_too_small_a_corpus_is_a_user_error(tmp_path: Path, num_speakers: int, utterances: int) -> None:
    with pytest.raises(UserError, match="ask for at least 2 speakers and 1 utterance"):
        synthesise_corpus(tmp_path / "corpus", num_speakers, utterances)


@needs_espeak
def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise_corpus(tmp_path / "corpus", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@needs_espeak
def test_a_killed_run_leaves_nothing_under_the_final_name_and_the_next_one_succeeds(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, signal, sys; from beam_jobs.corpus.synthetic import synthesise_corpus\n"
        "kill = lambda done, total: done == 3 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "synthesise_corpus(pathlib.Path(sys.argv[1]), 4, 1, progress=kill)"
    )
    killed = subprocess.run([sys.executable, "-c", program, tmp_path / "corpus"])
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "corpus").exists()

    synthesise_corpus(tmp_path / "corpus", 4, 1)
    assert len(read_librispeech(tmp_path / "corpus").speakers) == 4


def test_without_espeak_the_user_learns_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # None makes `import espeakng_loader` fail as it does where the package is not installed.
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match="not installed; `make setup` installs it, or"):
        synthesise_corpus(tmp_path / "corpus")
    assert list(tmp_path.iterdir()) == []
