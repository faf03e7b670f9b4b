# SPDX-License-Identifier: Apache-2.0
"""Labels are what a corpus says they are: a folder's name, a column's words, a speaker's or a recording's own."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import call_here, only_line
from pydantic import TypeAdapter, ValidationError

from beam_jobs.config import ClipsConfig, NumClips
from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.listing import Labelling
from beam_jobs.corpus.readers import kind_of, read_corpus
from beam_jobs.errors import UserError
from beam_jobs.generate_clips import generate_clips
from beam_jobs.labels import Labels
from beam_jobs.make_shard import split_for


def write(path: Path, number: int, seconds: float = 1.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.3 * np.sin(2 * np.pi * (100 + number) * np.arange(round(16_000 * seconds)) / 16_000)
    soundfile.write(path, samples, 16_000, subtype="PCM_16")


@pytest.fixture
def commands_corpus(tmp_path: Path) -> Path:
    """As in Speech Commands: nine people say three words, most of them all of the words, once or twice."""
    root = tmp_path / "speech commands"
    rng = np.random.default_rng(0)
    for person in range(9):
        for word in ("yes", "no", "stop"):
            for take in range(1 + int(rng.integers(2))):
                write(root / word / f"{person:08x}_nohash_{take}.wav", 100 * person + 10 * len(word) + take)
    (root / "README.md").write_text("not a recording\n")
    return root


def labels_of(index: SpeakerIndex) -> dict[str, int]:
    return dict(Counter(speaker.label for speaker in index.speakers))


def test_each_file_of_a_label_s_folder_is_a_group_of_its_own(commands_corpus: Path) -> None:
    index = read_corpus(commands_corpus)

    assert kind_of(commands_corpus)[0].startswith("a folder for each label")
    assert len(index.speakers) == sum(1 for _ in index.utterances()) == len(list(commands_corpus.rglob("*.wav")))
    assert index.labels() == ("no", "stop", "yes")
    assert index.other_files == {".md": 1}


def test_a_pattern_says_who_speaks_and_who_speaks_stays_in_one_split(commands_corpus: Path) -> None:
    index = read_corpus(commands_corpus, labelling=Labelling(speaker_pattern=r"(?P<speaker>[0-9a-f]+)_nohash"))
    clips = ClipsConfig(
        labels=["yes", "no", "stop"], duration_s=1, min_speech_s=0.5, sample_rate_hz=16_000, max_utterances=1,
        num_clips=NumClips(train=12, eval=6, test=6),
    )  # fmt: skip
    splits = split_for(index, clips)

    assert labels_of(index) == {"yes": 9, "no": 9, "stop": 9}
    heard = {split: {speaker.id for speaker in members} for split, members in splits.items()}
    assert sorted(id for ids in heard.values() for id in ids) == [f"{person:08x}" for person in range(9)]
    assert all({speaker.label for speaker in members} == {"yes", "no", "stop"} for members in splits.values())

    info = generate_clips(clips, index, str(commands_corpus.parent / "clips"))
    assert info.classes == ["yes", "no", "stop"]
    assert info.counts["train"] == {"yes": 4, "no": 4, "stop": 4}
    with (commands_corpus.parent / "clips/clips.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            assert row["utterance_ids"].startswith(f"{row['label']}/{row['speaker_ids']}_nohash")
            assert row["speaker_ids"] in heard[row["split"]]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(", "speaker_pattern '(': not a regular expression"),
        ("[0-9]+", "has no group (?P<speaker>"),
        ("(?P<speaker>person[0-9]+)", "recordings ignored, the first no/00000000_nohash_0.wav: no speaker in its path"),
    ],
)
def test_a_pattern_that_finds_nobody(commands_corpus: Path, pattern: str, text: str) -> None:
    with pytest.raises(UserError) as caught:
        read_corpus(commands_corpus, labelling=Labelling(speaker_pattern=pattern))
    assert text in str(caught.value)


def test_a_recording_that_the_pattern_does_not_fit_is_named(commands_corpus: Path) -> None:
    write(commands_corpus / "yes/loose.wav", 1)
    write(commands_corpus / "beside.wav", 2)
    index = read_corpus(commands_corpus, labelling=Labelling(speaker_pattern=r"(?P<speaker>[0-9a-f]+)_nohash"))

    assert [item.path for item in index.passed_over] == ["beside.wav", "yes/loose.wav"]


def acted(root: Path, rows: list[str]) -> Path:
    for number, row in enumerate(rows[1:]):
        write(root / row.split(",")[0], number)
    (root / "utterances.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def test_another_column_and_labels_of_the_recordings_own(tmp_path: Path) -> None:
    root = acted(
        tmp_path,
        ["path,speaker_id,label,mood", "a1.wav,ann,female,sad", "a2.wav,ann,female,glad", "b1.wav,,,glad", "b2.wav,bob,male,"],
    )

    assert {speaker.id: speaker.label for speaker in read_corpus(root).speakers} == {"ann": "female", "bob": "male"}
    with pytest.raises(UserError, match="speaker 'ann' is labelled 'glad' here and 'sad' in line 2"):
        read_corpus(root, labelling=Labelling(label_column="mood"))
    index = read_corpus(root, labelling=Labelling(label_column="mood", label_per_recording=True))
    assert [(speaker.id, speaker.label) for speaker in index.speakers] == [("ann", "glad"), ("ann", "sad"), ("b1", "glad")]
    assert [(item.path, item.reason) for item in index.rejected] == [("utterances.csv:5", "no label in column mood")]


def test_a_list_without_the_usual_labels_is_told_of_its_other_columns(tmp_path: Path) -> None:
    write(tmp_path / "clips/a.wav", 1)
    (tmp_path / "validated.tsv").write_text("client_id\tpath\tgender\tage\nann\ta.wav\t\ttwenties\n")

    with pytest.raises(UserError, match=r"usable label in validated\.tsv; --label-column reads another column"):
        read_corpus(tmp_path)
    assert labels_of(read_corpus(tmp_path, labelling=Labelling(label_column="age"))) == {"twenties": 1}


@pytest.mark.parametrize(
    "label", ["bell", "0", "C++", "West Indies and Bermuda (Bahamas, Bermuda, Jamaica, Trinidad)", "hành chính", "non-binary"]
)
def test_labels_as_common_voice_and_others_have_them(label: str) -> None:
    assert TypeAdapter(Labels).validate_python([label, "other"]) == [label, "other"]


@pytest.mark.parametrize("label", ["", " bell", "bell ", "a=b", "a;b", "a/b", "a\nb", "<b>", "mixed", "other"])
def test_labels_that_other_words_would_be_read_into(label: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Labels).validate_python([label, "other"])


def test_a_label_that_nobody_has_names_those_that_there_are(tmp_path: Path) -> None:
    root = acted(tmp_path, ["path,speaker_id,label", *(f"{k}.wav,,{('cat', 'dog')[k % 2]}" for k in range(6))])
    config = tmp_path / "pets.yaml"
    config.write_text(
        "clips: {labels: [cat, dogs], duration_s: 1, num_clips: {train: 4, eval: 2, test: 2}}\ntrain: {crop_s: 1}\n"
    )
    done = call_here("clips", "generate", "--config", config, "--corpus", root, "--output", tmp_path / "clips")

    assert done.returncode == 2
    assert only_line(done).endswith(
        "no speaker is labelled 'dogs'; clips.labels names cat, dogs, and the corpus has cat (3), dog (3) speakers"
    )
    assert not (tmp_path / "clips").exists()


def test_a_layout_that_has_one_label_takes_no_column(corpus: Path) -> None:
    done = call_here("corpus", "info", corpus, "--label-column", "accent")

    assert done.returncode == 2
    assert "label_column is 'accent', and this is LibriSpeech, which has no such setting" in only_line(done)
