# SPDX-License-Identifier: Apache-2.0
"""Clips are chosen, degraded and asked about; the gate's figures of them are those of pandas and scikit-learn."""

import dataclasses
import random
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from clip_datasets import reference_to, write_dataset
from sklearn.metrics import accuracy_score

from beam_jobs.errors import UserError
from beam_jobs.examples import Clip
from components.evaluator.predictions import BASELINE, CANDIDATE
from components.gate import robustness
from components.gate.config import GateConfig
from components.robustness.config import RobustnessConfig
from components.robustness.degradations import DegradationError, _coded
from components.robustness.measure import choose, measure
from components.robustness.scores import SCORES_FILE, Answers, Condition, RobustnessScores, read_scores, write_scores

CLASSES = ["male", "female"]
CONFIG = RobustnessConfig(degradations=["telephone", "babble", "pink_noise"], strengths=[1, 3], num_clips=16)


@pytest.fixture(scope="module")
def models(saved_models) -> dict[str, str]:
    return {CANDIDATE: saved_models["trained"], BASELINE: saved_models["right"]}


@pytest.fixture(scope="module")
def scores(test_dataset, models) -> RobustnessScores:
    return measure(test_dataset, models, CONFIG, CLASSES, seed=5)


# Which clips.


def test_speakers_are_heard_more_evenly_than_by_chance_and_the_labels_take_turns(test_clips):
    def spread(clips: list[Clip]) -> float:
        heard = Counter(speaker for clip in clips for speaker in set(clip.speaker_ids))
        return float(np.std([heard[speaker] for clip in test_clips for speaker in clip.speaker_ids]))

    chosen = [choose(test_clips, 12, seed) for seed in range(20)]
    by_chance = [random.Random(seed).sample(test_clips, 12) for seed in range(20)]

    assert np.mean([spread(clips) for clips in chosen]) < 0.75 * np.mean([spread(clips) for clips in by_chance])
    assert all(Counter(clip.label for clip in clips) == {0: 6, 1: 6} for clips in chosen)


def test_clips_of_several_speakers_are_chosen_as_often_as_there_are(test_clips):
    def shares(clips: list[Clip]) -> list[float]:
        sizes = Counter(len(set(clip.speaker_ids)) for clip in clips)
        return [sizes[number] / len(clips) for number in (1, 2, 3)]

    chosen = [clip for seed in range(60) for clip in choose(test_clips, 10, seed)]

    assert shares(chosen) == pytest.approx(shares(test_clips), abs=0.06)
    assert Counter(clip.label for clip in chosen) == {0: 300, 1: 300}


def test_the_choice_depends_on_the_seed_and_the_clips_and_on_no_order(test_clips):
    mixed_up = random.Random(1).sample(test_clips, len(test_clips))

    assert choose(mixed_up, 10, seed=5) == choose(test_clips, 10, seed=5) != choose(test_clips, 10, seed=6)
    assert choose(test_clips, 10, seed=5) == choose(test_clips, 20, seed=5)[:10]
    assert sorted(clip.id for clip in choose(test_clips, 999, seed=5)) == [clip.id for clip in test_clips]


def test_a_test_split_without_clips_is_told(models, test_clips, tmp_path):
    dataset = write_dataset(tmp_path / "clips", {"train": [test_clips[:2]]})
    with pytest.raises(UserError, match=r"the test split holds no clips; set clips\.num_clips\.test"):
        measure(reference_to(dataset), models, CONFIG, CLASSES, seed=5)


# What is asked.


def test_the_clean_row_is_what_the_evaluator_stores_about_the_same_clips(scores, evaluation):
    from components.evaluator.predictions import read_predictions

    predictions = read_predictions(evaluation("trained", "right"))
    position = [predictions.ids.index(clip_id) for clip_id in scores.ids]
    clean = scores.conditions[0]

    assert (clean.name, len(scores.ids), scores.labels) == ("clean", 16, predictions.labels[position].tolist())
    for answers, expected in ((clean.candidate, predictions.candidate), (clean.baseline, predictions.baseline)):
        np.testing.assert_allclose(answers.probabilities, expected[position], atol=1e-5)


def test_what_a_model_is_asked_hangs_on_the_seed_and_the_clip_alone(scores, test_dataset, models, tmp_path):
    again = measure(test_dataset, models, CONFIG, CLASSES, seed=5)
    assert again == scores

    # Another order of other degradations, without a baseline: the same answers under pink noise.
    fewer = CONFIG.model_copy(update={"degradations": ["pink_noise"], "strengths": [3]})
    alone = measure(test_dataset, {CANDIDATE: models[CANDIDATE]}, fewer, CLASSES, seed=5)
    (same,) = [one for one in scores.conditions if (one.degradation, one.strength) == ("pink_noise", 3)]
    np.testing.assert_allclose(alone.conditions[1].candidate.probabilities, same.candidate.probabilities, atol=1e-6)
    assert [one.baseline for one in alone.conditions] == [None, None]
    other = measure(test_dataset, {CANDIDATE: models[CANDIDATE]}, fewer, CLASSES, seed=6)
    assert other.conditions[1] != alone.conditions[1]


def test_the_file_keeps_every_score(scores, tmp_path):
    write_scores(scores, str(tmp_path))
    assert read_scores(str(tmp_path)) == scores
    assert [condition.name for condition in scores.conditions[:3]] == [
        "clean",
        "degradation=telephone, strength=1",
        "degradation=telephone, strength=3",
    ]
    (tmp_path / SCORES_FILE).write_text(scores.model_dump_json().replace('"speech":[', '"speech":[0.5,', 1))
    with pytest.raises(ValueError, match="clean has answers about 17 of 16 clips"):
        read_scores(str(tmp_path))


# Figures.


def table(scores: RobustnessScores) -> pd.DataFrame:
    """A row for each answer, out of the stored file as anyone would read it."""
    rows = [
        {
            "condition": condition.name,
            "model": model,
            "label": label,
            "said": int(np.argmax(row)) if share > 0 else None,
            "confidence": max(row),
        }
        for condition in scores.conditions
        for model in ("candidate", "baseline")
        if (answers := getattr(condition, model))
        for label, row, share in zip(scores.labels, answers.probabilities, answers.speech, strict=True)
    ]
    return pd.DataFrame(rows)


def figures_by_pandas(answers: pd.DataFrame) -> tuple[float, float]:
    """Accuracy by scikit-learn, and the expected calibration error by pandas' own bins."""
    right = answers.said == answers.label
    bins = pd.cut(answers.confidence, np.linspace(0, 1, 16).tolist(), right=False).cat.add_categories("all").fillna("all")
    gaps = (right - answers.confidence).groupby(bins, observed=True).agg(["mean", "size"])
    return accuracy_score(answers.label, answers.said.fillna(-1)), float((gaps["mean"].abs() * gaps["size"]).sum() / len(answers))


def silenced(scores: RobustnessScores) -> RobustnessScores:
    """The same, but for three clips in which the candidate hears no speech when they are on the telephone."""
    changed = scores.model_copy(deep=True)
    answers = changed.conditions[2].candidate
    for number in (0, 3, 5):
        answers.speech[number], answers.probabilities[number] = 0.0, [0.5, 0.5]
    return changed


@pytest.mark.parametrize("change", [lambda scores: scores, silenced], ids=["as measured", "no speech in three"])
def test_every_figure_is_that_of_pandas_from_the_stored_scores(scores, change):
    changed = change(scores)
    found = robustness.figures(GateConfig(bootstrap_samples=200), changed)

    answers = table(changed)
    assert [row.name for row in found.rows] == list(answers.condition.unique())
    for row in found.rows:
        for model in ("candidate", "baseline"):
            expected = figures_by_pandas(answers[(answers.condition == row.name) & (answers.model == model)])
            values = {item.metric: getattr(item, model) for item in row.metrics}
            assert (values["accuracy"].value, values["ece"].value) == pytest.approx(expected)
            assert values["accuracy"].low <= values["accuracy"].value <= values["accuracy"].high
    assert found.rows[2].no_speech == (3 if change is silenced else 0)
    assert (found.clip_ids, found.speakers) == (scores.ids, len({name for names in scores.speaker_ids for name in names}))


def test_where_no_speech_is_heard_no_label_is_right():
    answers = Answers(probabilities=[[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]], speech=[0.0, 0.2, 1.0])
    scores = RobustnessScores(
        ids=["a", "b", "c"], labels=[0, 0, 0], speaker_ids=[["1"], ["2"], ["3"]], conditions=[Condition(candidate=answers)]
    )
    accuracy = robustness.figures(GateConfig(bootstrap_samples=100), scores).rows[0].metrics[0]
    assert accuracy.candidate.value == pytest.approx(2 / 3)


# What cannot be measured.


@pytest.fixture
def of_one_speaker(test_clips, models, tmp_path) -> RobustnessScores:
    """Nobody is there to babble."""
    clips = [dataclasses.replace(clip, speaker_ids=("1",)) for clip in test_clips[:4]]
    config = RobustnessConfig(degradations=["babble", "clipped"], strengths=[2])
    dataset = write_dataset(tmp_path / "clips", {"test": [clips]})
    return measure(reference_to(dataset), {CANDIDATE: models[CANDIDATE]}, config, CLASSES, seed=0)


def test_a_degradation_that_cannot_be_made_says_why_and_stands_beside_the_others(of_one_speaker):
    clean, babble, clipped = of_one_speaker.conditions

    assert babble.not_measured == "there are no clips of other speakers to make babble from"
    assert babble.candidate is None
    assert clean.candidate and clipped.candidate and not clipped.not_measured
    row = robustness.figures(GateConfig(bootstrap_samples=100), of_one_speaker).rows[1]
    assert (row.metrics, row.not_measured) == ([], babble.not_measured)


def test_a_threshold_on_what_could_not_be_measured_fails(of_one_speaker):
    config = GateConfig.model_validate({"bootstrap_samples": 100, "robustness": {"babble": {"max_ece": 1, "min_accuracy": 0}}})
    found = robustness.checks(config, robustness.figures(config, of_one_speaker))

    assert [(check.slice, check.metric, check.value, check.decides, check.ok) for check in found] == [
        ("degradation=babble, strength=2", metric, None, True, False) for metric in ("accuracy", "ece")
    ]


def test_a_codec_that_libsndfile_lacks_is_named():
    with pytest.raises(DegradationError, match=re.compile(r"libsndfile [\d.]+ cannot encode GSM610")):
        _coded(np.zeros(8000, np.float32), 8000, "OGG", "GSM610")
