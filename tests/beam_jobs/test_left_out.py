# SPDX-License-Identifier: Apache-2.0
"""What of a corpus is left out is told wherever the corpus is used: terminal, dataset, report."""

import csv
import json
import shutil
from pathlib import Path

import layouts
import pytest
import soundfile

from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.left_out import left_out_lines
from beam_jobs.corpus.readers import read_corpus
from beam_jobs.dataset import read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.generate_clips import generate_clips
from beam_jobs.labels import DEFAULT_LABELS
from pipeline import cli


@pytest.fixture
def spoilt(corpus: Path, tmp_path: Path) -> Path:
    """A corpus by a list with a mistyped and a missing label, a missing file, a bad line and a recording that it lacks."""
    root = layouts.plain_csv(corpus, tmp_path / "corpus")
    table = root / "utterances.csv"
    text = table.read_text()
    for old, new in (("s11,Female", "s11,Femal"), ("s22,m", "s22,"), ("12-1-0000.mp3,s12,m", "12-1-0000.mp3,s12,m,")):
        text = text.replace(old, new)
    table.write_text(text)
    (root / "all of it/13-1-0000.wav").unlink(missing_ok=True)
    gone = next(path for path in (root / "all of it").glob("13-1-0001.*"))
    shutil.move(gone, root / f"somewhere{gone.suffix}")
    return root


SAID = [
    "left out: 1 label, with its speakers, not in clips.labels: Femal (1)",
    "left out: 1 speaker without a usable label: s22",
    "left out: 2 files and lines of a list that cannot be used: all of it/13-1-0001.ogg: cannot be opened: No such file or "
    "directory, utterances.csv:5: 4 fields, but the header has 3; fix or delete 'all of it/12-1-0000.mp3,s12,m,'",
    "left out: 2 recordings that are not part of the corpus: all of it/12-1-0000.mp3: not listed in utterances.csv, "
    "somewhere.ogg: not listed in utterances.csv",
]


def test_the_lines_name_each_kind(spoilt: Path, index: SpeakerIndex) -> None:
    found = left_out_lines(read_corpus(spoilt).with_labels(DEFAULT_LABELS))
    names = [line.replace(".mp3", ".ogg").replace(".flac", ".ogg").replace(".wav", ".ogg") for line in found]
    assert names == [line.replace(".mp3", ".ogg") for line in SAID]
    assert left_out_lines(index) == []


def test_a_dataset_says_what_was_left_out(spoilt: Path, tmp_path: Path, make_config, capsys) -> None:
    output = tmp_path / "clips"
    generate_clips(make_config(max_rejected_share=0.5), read_corpus(spoilt), str(output))
    said = " ".join(" ".join(capsys.readouterr()).split())
    assert all(line[:60] in said for line in SAID)

    info = json.loads((output / "dataset_info.json").read_text())
    assert info["other_labels"] == {"Femal": 1}
    assert (info["unlabelled"], info["unlisted"], info["rejected"], info["passed_over"]) == (["s22"], [], 2, 2)
    assert read_dataset_info(str(output)).left_out == (
        "1 label, with its speakers, not in clips.labels, 1 speaker without a usable label, "
        "2 files and lines of a list that cannot be used, "
        "2 recordings that are not part of the corpus"
    )
    rows = list(csv.DictReader((output / "rejected.csv").open()))
    assert {row["path"].split("/")[-1].split(".")[0] for row in rows} == {"12-1-0000", "13-1-0001", "somewhere", "utterances", ""}
    assert [row for row in rows if row["speaker"]] == [{"path": "", "speaker": "s22", "reason": "no usable label"}]
    assert "label Femal is not in clips.labels (1 speaker)" in [row["reason"] for row in rows]


def test_the_commands_say_it(spoilt: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    settings = ("num_clips.train=4", "num_clips.eval=2", "num_clips.test=2", "max_rejected_share=0.5", "max_utterances=2")
    changes = [part for setting in settings for part in ("--set", f"clips.{setting}")]
    for arguments in (
        ["corpus", "info", str(spoilt)],
        ["clips", "generate", "--config", "demo", *changes, "--corpus", str(spoilt), "--output", str(tmp_path / "a")],
    ):
        monkeypatch.setattr("sys.argv", ["audio-gender", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        said = " ".join(" ".join(capsys.readouterr()).split())
        assert "Femal" in said
        assert "left out: 1 speaker without a usable label: s22" in said
        assert "left out: 2 files and lines of a list that cannot be used" in said


def test_where_no_utterance_can_be_used_the_files_are_named(own_corpus: Path, tmp_path: Path, make_config) -> None:
    index = read_corpus(own_corpus)
    for path in own_corpus.glob("*/*/*/*.flac"):
        samples, rate_hz = soundfile.read(path)
        soundfile.write(path, 1e-3 * samples, rate_hz)  # each another silence
    with pytest.raises(UserError, match=r"unusable \(for example tones/.*\.flac: .*fix these files") as caught:
        generate_clips(make_config(), index, str(tmp_path / "clips"))
    assert "min_speech_s" not in str(caught.value)
