# SPDX-License-Identifier: Apache-2.0
"""feedback.csv: recordings that users labelled, as a subset of the corpus."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from beam_jobs.audio import ffmpeg_is_there
from beam_jobs.config import ClipsConfig
from beam_jobs.corpus.contents import duplicates, read_contents
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.listing import Labelling
from beam_jobs.corpus.readers import _read_stored, read_corpus
from beam_jobs.corpus.splits import check_duplicates, split_speakers
from beam_jobs.errors import UserError
from beam_jobs.generate_clips import generate_clips
from pipeline.cli import app

SECONDS = 2.5
"""No recording of the test corpus is as long."""


@pytest.fixture
def feedback(tmp_path: Path, make_tone: Callable) -> Callable[..., Path]:
    """A function that writes recordings of the given names and a list of the given lines."""

    def write(names: list[str], *lines: str) -> Path:
        folder = tmp_path / "feedback"
        for number, name in enumerate(names):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, make_tone(150 + 10 * number, SECONDS, seed=100 + number), 16_000)
        (folder / "feedback.csv").write_text("\n".join(["path,label,who", *lines]) + "\n")
        return folder / "feedback.csv"

    return write


def read(corpus: Path, path: Path) -> SpeakerIndex:
    return read_corpus(corpus, labelling=Labelling(feedback=str(path)))


def test_recordings_join_the_corpus_as_a_subset_by_who(corpus: Path, feedback: Callable[..., Path]) -> None:
    path = feedback(
        ["a.wav", "more/b.flac", "c.wav", "d.wav"], "a.wav,F,ada", "more/b.flac,female,ada", "c.wav,male,ada", "d.wav,M,"
    )

    index = read(corpus, path)

    new = {(speaker.id, speaker.label): speaker for speaker in index.speakers if speaker.subset == "feedback"}
    # Whoever labels others' recordings is one group with several labels; nobody's name makes a recording a group of its own.
    assert {key: [item.id for item in speaker.utterances] for key, speaker in new.items()} == {
        ("ada", "female"): ["feedback:a", "feedback:more/b"],
        ("ada", "male"): ["feedback:c"],
        ("feedback:d", "male"): ["feedback:d"],
    }
    assert all((corpus / item.path).exists() for speaker in new.values() for item in speaker.utterances)
    assert [speaker for speaker in index.speakers if speaker.subset != "feedback"] == list(read_corpus(corpus).speakers)
    assert SpeakerIndex.from_json(index.to_json(), "test") == index


def test_who_is_heard_in_the_corpus_already_stays_in_that_split(corpus: Path, feedback: Callable[..., Path]) -> None:
    before = read_corpus(corpus)
    test = split_speakers(before.speakers, 3)["test"]
    index = read(corpus, feedback(["a.wav", "b.wav"], f"a.wav,{test[0].label},{test[0].id}", f"b.wav,female,{test[1].id}"))

    splits = split_speakers(index.speakers, 3)

    where = {item.id: split for split, members in splits.items() for speaker in members for item in speaker.utterances}
    assert (where["feedback:a"], where["feedback:b"]) == ("test", "test")


@pytest.mark.parametrize("seed", range(5))
def test_feedback_moves_nobody_to_another_split(corpus: Path, feedback: Callable[..., Path], seed: int) -> None:
    names = [f"{number}.wav" for number in range(40)]
    lines = [f"{name},{('male', 'female')[number % 2]},user{number}" for number, name in enumerate(names)]
    before = split_speakers(read_corpus(corpus).speakers, seed)
    few = split_speakers(read(corpus, feedback(names, *lines[:5])).speakers, seed)
    many = split_speakers(read(corpus, feedback(names, *lines)).speakers, seed)

    def places(splits: dict) -> dict[str, str]:
        return {speaker.id: split for split, members in splits.items() for speaker in members}

    assert places(before).items() <= places(few).items() <= places(many).items()
    # By default 8 in 10 are trained on.
    assert 24 <= sum(split == "train" for id, split in places(many).items() if id.startswith("user")) <= 39
    assert not {a.id for a in many["train"]} & {b.id for b in many["test"]}


def test_a_recording_that_is_in_the_corpus_is_not_added_in_any_lossless_format(
    corpus: Path, feedback: Callable[..., Path]
) -> None:
    path = feedback(["new.wav", "same.flac"], "new.wav,male,u1", "same.flac,male,u2", "copy.wav,female,u3", "again.flac,male,u4")
    old = next(iter(read_corpus(corpus).utterances()))
    samples, rate = soundfile.read(corpus / old.path, dtype="int16")
    soundfile.write(path.parent / "copy.wav", samples, rate, subtype="PCM_16")  # a FLAC there
    samples, rate = soundfile.read(path.parent / "new.wav", dtype="int16")
    soundfile.write(path.parent / "again.flac", samples, rate)

    index = read(corpus, path)

    new = next(item for item in index.utterances() if item.id == "feedback:new")
    assert {item.path: item.reason for item in index.rejected} == {
        "feedback.csv:4": f"'copy.wav' is the same recording as {old.path}, which is used",
        "feedback.csv:5": f"'again.flac' is the same recording as {new.path}, which is used",
    }
    splits = split_speakers(index.speakers, 0)
    assert check_duplicates(splits, duplicates(index, read_contents(index))) == 0


def test_lines_that_cannot_be_used_are_named_and_the_others_used(
    corpus: Path, feedback: Callable[..., Path], tmp_path: Path, make_config: Callable[..., ClipsConfig]
) -> None:
    path = feedback(
        ["a.wav", "b.wav", "c.wav"],
        "a.wav,female,ada",
        "gone.wav,female,ada",
        "../../etc/passwd,male,eve",
        "/etc/passwd,male,eve",
        "b.wav,,ada",
        "b.wav,male,two words",
        "b.wav,male",
        "noise.wav,male,bob",
        "a.wav,male,bob",
        "c.wav,alto,carl",
    )
    (path.parent / "noise.wav").write_bytes(b"not sound")
    index = read(corpus, path)

    clips = make_config(max_rejected_share=0.5)
    info = generate_clips(clips, index, str(tmp_path / "clips"))

    reasons = {item.path: item.reason for item in index.rejected}
    assert list(reasons) == [f"feedback.csv:{line}" for line in (10, 3, 4, 5, 6, 7, 8, 9)]
    assert "No such file" in reasons["feedback.csv:3"] and "without '..'" in reasons["feedback.csv:4"]
    assert "no label" in reasons["feedback.csv:6"] and "speaker id" in reasons["feedback.csv:7"]
    assert "2 fields" in reasons["feedback.csv:8"] and "same recording" in reasons["feedback.csv:10"]
    assert info.rejected == 8 and info.other_labels == {"alto": 1} and "feedback" in info.corpus_subsets
    listed = (tmp_path / "clips" / "rejected.csv").read_text()
    assert all(where in listed for where in reasons)


def test_clips_hold_feedback(
    corpus: Path, feedback: Callable[..., Path], tmp_path: Path, make_config: Callable[..., ClipsConfig]
) -> None:
    names = [f"{number}.wav" for number in range(12)]
    index = read(corpus, feedback(names, *(f"{name},{('male', 'female')[k % 2]},u{k}" for k, name in enumerate(names))))

    generate_clips(make_config(), index, str(tmp_path / "clips"))

    assert "feedback:" in (tmp_path / "clips" / "clips.csv").read_text()


def test_a_corpus_elsewhere_has_feedback_in_its_index(corpus: Path, feedback: Callable[..., Path], tmp_path: Path) -> None:
    path = feedback(["a.wav"], "a.wav,female,ada")
    stored = tmp_path / "stored"
    stored.mkdir()
    (stored / "speaker_index.json").write_text(read(corpus, path).to_json())

    index = _read_stored(str(stored), subsets=["tones"])

    assert "feedback:a" in {item.id for item in index.utterances()}
    with pytest.raises(UserError, match="give the column, the pattern or the feedback"):
        read_corpus("s3://bucket/stored", labelling=Labelling(feedback=str(path)))


@pytest.mark.parametrize("content", ["", "path,label\na.wav,male\n", "sound,label,who\n", "path,label,who,who\n"])
def test_a_list_that_is_none_is_refused_by_name(corpus: Path, feedback: Callable[..., Path], content: str) -> None:
    path = feedback(["a.wav"])
    path.write_text(content)
    with pytest.raises(UserError, match=r"feedback\.csv.*expected a header with the columns path, label, who"):
        read(corpus, path)
    with pytest.raises(UserError, match="cannot be read"):
        read(corpus, path.with_name("gone.csv"))


@pytest.mark.skipif(not ffmpeg_is_there(), reason="no ffmpeg on the PATH (Debian: apt install ffmpeg)")
def test_recordings_as_phones_make_them_and_a_corpus_behind_a_link(
    corpus: Path, feedback: Callable[..., Path], tmp_path: Path
) -> None:
    """AMR-less ffmpeg on every machine writes Opus in Ogg and AAC in M4A, as phones and browsers record."""
    path = feedback(["a.wav", "b.wav"], "a.opus,female,ada", "b.m4a,male,bob")
    for source, target in (("a.wav", "a.opus"), ("b.wav", "b.m4a")):
        subprocess.run(["ffmpeg", "-v", "error", "-i", path.parent / source, path.parent / target], check=True)
    link = tmp_path / "deep" / "link"
    link.parent.mkdir()
    link.symlink_to(corpus)

    index = read(link, path)

    found = [item for item in index.utterances() if item.id.startswith("feedback:")]
    assert len(found) == 2 and not index.rejected and all(SECONDS <= item.duration_s < SECONDS + 0.1 for item in found)
    assert all((link / item.path).exists() for item in found)


def test_a_corpus_that_moves_with_its_feedback_stays_the_same(
    own_corpus: Path, feedback: Callable[..., Path], tmp_path: Path
) -> None:
    feedback(["a.wav"], "a.wav,female,ada")
    before = read(own_corpus, tmp_path / "feedback" / "feedback.csv").fingerprint()
    (tmp_path / "there").mkdir()
    for name in (own_corpus.name, "feedback"):
        (tmp_path / name).rename(tmp_path / "there" / name)

    index = read(tmp_path / "there" / own_corpus.name, tmp_path / "there" / "feedback" / "feedback.csv")

    assert index.fingerprint() == before != read_corpus(tmp_path / "there" / own_corpus.name).fingerprint()


def test_corpus_info_says_whether_a_line_is_usable(corpus: Path, feedback: Callable[..., Path]) -> None:
    path = feedback(["a.wav"], "a.wav,female,ada", "gone.wav,female,ada")
    done = CliRunner().invoke(app, ["corpus", "info", str(corpus), "--feedback", str(path)], env={"COLUMNS": "200"})

    assert done.exit_code == 0, done.output
    assert re.search(r"feedback +female +1 +1 ", done.output) and "feedback.csv:3: 'gone.wav': cannot be opened" in done.output
