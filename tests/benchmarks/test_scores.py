# SPDX-License-Identifier: Apache-2.0
"""What is asked, of whom, and what the answers are worth."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_inputs import voice

from beam_jobs.errors import UserError
from benchmarks.answer_table import markdown, scores_by_set
from benchmarks.cross_validation import Figures, folds
from benchmarks.evaluation_sets import (
    RATE_HZ,
    VOICE_SETS,
    Recording,
    RecordingSet,
    read_voices,
    sets_in,
    write_clip_sets,
    write_voice_sets,
)
from benchmarks.linear_baseline import linear_answers, write_features
from benchmarks.utterance_scores import Answers, answers_of, scores_of_answers, wilson


@pytest.fixture
def voices(tmp_path: Path) -> RecordingSet:
    """Ten artificial voices, five men first, at 16 kHz."""
    made = RecordingSet(tmp_path / "voices.npz")
    names = ("male", "female")
    samples = [voice(number // 5, 900 + number, 2 * RATE_HZ, RATE_HZ) for number in range(10)]
    made.write([Recording(part, names[number // 5], (f"s{number}",)) for number, part in enumerate(samples)])
    return made


def test_recordings_are_read_as_they_were_written(voices):
    found = voices.read()
    assert [(item.label, item.speakers) for item in found][4:6] == [("male", ("s4",)), ("female", ("s5",))]
    np.testing.assert_allclose(found[7].samples, voice(1, 907, 2 * RATE_HZ, RATE_HZ), atol=2e-5)


def test_an_exported_model_is_asked_about_those_whom_it_has_not_heard(trained, voices, tmp_path):
    answers = answers_of(Path(trained.serving_model_dir), [voices], ["s0", "s9"], tmp_path / "log.txt")["voices"]
    assert answers.speakers == [[f"s{number}"] for number in range(1, 9)]
    assert scores_of_answers(answers)["accuracy"] >= 0.75  # it was trained on such voices, at half the rate
    assert all(0.5 <= probability <= 1 for probability in answers.probability)


def test_the_linear_model_answers_too(voices, tmp_path):
    write_features([voices])
    heard = [f"s{number}" for number in (0, 1, 2, 5, 6, 7)]
    answers = linear_answers(voices, heard, [voices])["voices"]
    assert answers.speakers == [["s3"], ["s4"], ["s8"], ["s9"]]
    assert answers.answers == ["male", "male", "female", "female"]


def test_each_speaker_is_in_one_fold_and_labels_are_spread(index):
    dealt = folds(index, 3)
    assert sorted(speaker for fold in dealt for speaker in fold) == sorted(speaker.id for speaker in index.speakers)
    label = {speaker.id: speaker.label for speaker in index.speakers}
    women = [sum(label[speaker] == "female" for speaker in fold) for fold in dealt]
    assert max(women) - min(women) <= 1
    assert dealt == folds(replace(index, speakers=index.speakers[::-1]), 3)


def test_clips_hold_the_held_out_speakers_alone(index, tmp_path):
    test = folds(index, 3)[0]
    write_clip_sets(tmp_path, index, test, ("male", "female", "mixed"), 6)
    for one in sets_in(tmp_path):
        clips = one.read()
        assert {clip.label for clip in clips} == {"male", "female", "mixed"}
        assert {speaker for clip in clips for speaker in clip.speakers} <= set(test)
    assert [one.name for one in sets_in(tmp_path)] == ["clips 10 s", "clips 60 s"]


def test_every_voice_is_in_every_set(index, tmp_path):
    names = ("10 s", "1 s", "babble 3", "telephone 1")
    voices = read_voices(index, index.speakers)
    write_voice_sets(tmp_path, voices, names)
    assert [one.name for one in sets_in(tmp_path)] == [name for name in VOICE_SETS if name in names]
    for one in sets_in(tmp_path):
        assert [item.speakers for item in one.read()] == [item.speakers for item in voices]
    assert {len(item.samples) for item in RecordingSet(tmp_path / "1 s.npz").read()} == {RATE_HZ}


def test_no_speech_counts_as_wrong():
    answers = Answers(["male"] * 4, [[name] for name in "abcd"], ["male", "male", None, "female"], [1.0, 1.0, 0.5, 1.0])
    scores = scores_of_answers(answers)
    assert (scores["accuracy"], scores["no_speech"], scores["recall"]) == (0.5, 1, {"male": 0.5})
    assert scores["ece"] == pytest.approx(0.25 * 0.5 + 0.75 * (1 - 2 / 3))


def test_the_interval_is_wilsons_over_speakers():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263 gives 0.2553 to 0.3662, 15 of 148 gives 0.0624 to 0.1605.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    one = Answers(["male"] * 10, [[str(number)] for number in range(10)], ["male"] * 8 + ["female"] * 2, [0.9] * 10)
    twice = scores_of_answers(Answers.pooled([one, one]))
    assert (twice["low"], twice["high"], twice["recordings"]) == (*wilson(0.8, 10), 20)


def test_recordings_of_one_speaker_are_not_many_speakers():
    few = Answers(
        ["male"] * 41, [[str(min(number // 10, 3))] for number in range(41)], ["male"] * 30 + ["female"] * 11, [0.9] * 41
    )
    many = Answers(["male"] * 41, [[str(number)] for number in range(41)], few.answers, few.probability)
    width = [scores["high"] - scores["low"] for scores in map(scores_of_answers, (few, many))]
    assert width[0] > 1.5 * width[1]


def test_the_table_has_a_row_for_each_set_and_a_gap_where_nobody_was_asked():
    answers = Answers(["male"], [["a"]], ["male"], [None])
    lines = markdown(
        {"ours": scores_by_set({"10 s": answers}), "ina": scores_by_set({"10 s": answers, "5 s": answers})}
    ).splitlines()
    assert len(lines) == 4
    assert lines[3].startswith("| 5 s | 1 | 1 | - | - | - | 1.000 [")
    assert len({line.count("|") for line in lines}) == 1


def test_figures_of_other_settings_are_not_gone_on_with(tmp_path):
    path = tmp_path / "figures.json"
    Figures(path, {"folds": 3}).keep("linear", "0", {})
    assert Figures(path, {"folds": 3}).data["linear"] == {"0": {}}
    with pytest.raises(UserError, match="other settings"):
        Figures(path, {"folds": 5})


def test_the_referee_answers_in_its_own_environment(tmp_path):
    python = os.environ.get("INA_PYTHON")
    root = os.environ.get("LIBRISPEECH_ROOT")
    if not python or not root:
        pytest.skip(
            "INA_PYTHON or LIBRISPEECH_ROOT is not set: an interpreter with benchmarks/ina-requirements.txt, and real speech"
        )
    from beam_jobs.corpus.readers import read_corpus
    from benchmarks.referee import referee_answers

    index = read_corpus(root, ["train-clean-100"])
    one = RecordingSet(tmp_path / "real.npz")
    silence = Recording(np.zeros(RATE_HZ, np.float32), "male", ("nobody",))
    one.write([*(item._replace(samples=item.samples[: 5 * RATE_HZ]) for item in read_voices(index, index.speakers[:4])), silence])
    answers = referee_answers(python, one)
    assert answers.answers == [*answers.labels[:4], None]


def test_a_folder_without_a_model_is_said_so(tmp_path):
    command = [sys.executable, "-m", "benchmarks.robustness", "--model", str(tmp_path), "--corpus", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no SavedModel there" in done.stderr
