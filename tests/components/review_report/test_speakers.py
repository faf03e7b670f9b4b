# SPDX-License-Identifier: Apache-2.0
"""Who is blamed for a mistake, and whose label is doubted."""

import dataclasses

import numpy as np
import pytest

from components.evaluator.predictions import Predictions
from components.review_report.inputs import heard
from components.review_report.speakers import speaker_table, suspects

CLASSES = ["male", "female"]


def predictions(clips: list[tuple[str, int, float]], baseline: np.ndarray | None = None) -> Predictions:
    """Clips as (speakers, label, probability of the label)."""
    of_label = np.array([probability for _, _, probability in clips], np.float32)
    labels = np.array([label for _, label, _ in clips])
    candidate = np.empty((len(clips), 2), np.float32)
    candidate[np.arange(len(clips)), labels], candidate[np.arange(len(clips)), 1 - labels] = of_label, 1 - of_label
    return Predictions(
        ids=[f"test-{k:03d}" for k in range(len(clips))],
        labels=labels,
        candidate=candidate,
        baseline=baseline,
        candidate_classes=CLASSES,
        speaker_ids=[tuple(speakers.split()) for speakers, _, _ in clips],
        utterance_ids=[()] * len(clips),
        modes=["sequential"] * len(clips),
        num_speakers=np.array([len(set(speakers.split())) for speakers, _, _ in clips]),
        rms_dbfs=np.zeros(len(clips), np.float32),
        speech_ratio=np.ones(len(clips), np.float32),
    )


def a_good_model(seed: int = 0, num_speakers: int = 20, clips_each: int = 3) -> list[tuple[str, int, float]]:
    rng = np.random.default_rng(seed)
    return [(f"s{k}", k % 2, float(rng.uniform(0.8, 0.999))) for k in range(num_speakers) for _ in range(clips_each)]


def test_a_speaker_is_not_blamed_for_a_mistake_on_a_clip_shared_with_another():
    found = predictions([("a", 0, 0.9), ("a", 0, 0.8), ("b", 0, 0.2), ("b", 0, 0.9), ("a b", 0, 0.1)])

    by_name = {row.speaker: row for row in speaker_table(found, CLASSES)}

    assert list(by_name) == ["b", "a"]
    assert (by_name["a"].alone, by_name["a"].alone_wrong, by_name["a"].accuracy) == (2, 0, 1.0)
    assert by_name["a"].mean_probability == pytest.approx(0.85)
    assert (by_name["b"].alone, by_name["b"].alone_wrong, by_name["b"].accuracy) == (2, 1, 0.5)
    assert [(row.shared, row.shared_wrong) for row in by_name.values()] == [(1, 1), (1, 1)]


def test_an_utterance_twice_in_a_clip_is_one_speaker():
    (row,) = speaker_table(predictions([("a a", 1, 0.3)]), CLASSES)
    assert (row.alone, row.alone_wrong, row.shared, row.label) == (1, 1, 0, "female")


def test_a_speaker_who_is_never_alone_has_no_figures_of_their_own():
    clips = [("a b", 0, 0.3)]
    assert [(row.accuracy, row.mean_probability, row.shared_wrong) for row in speaker_table(predictions(clips), CLASSES)] == [
        (None, None, 1)
    ] * 2


def test_a_speaker_of_mixed_clips_has_the_label_of_the_others():
    found = predictions([("a b", 0, 0.3), ("a", 0, 0.9)])
    three = dataclasses.replace(found, labels=np.array([2, 0]), candidate=np.pad(found.candidate, [(0, 0), (0, 1)]))
    assert {row.speaker: row.label for row in speaker_table(three, [*CLASSES, "mixed"])} == {"a": "male", "b": "mixed"}


@pytest.mark.parametrize("seed", range(5))
def test_two_speakers_whose_labels_were_swapped_are_found_and_no_others(seed):
    clips = a_good_model(seed)
    assert suspects(predictions(clips), CLASSES) == []
    swapped = [(name, 1 - label, 0.03) if name in ("s4", "s7") else (name, label, p) for name, label, p in clips]

    found = suspects(predictions(swapped), CLASSES)

    assert {(row.speaker, row.label, row.said) for row in found} == {("s4", "female", "male"), ("s7", "male", "female")}
    assert all(len(row.positions) == 3 for row in found)
    assert {f"test-{position:03d}" for row in found for position in row.positions[:2]} <= heard(predictions(swapped), CLASSES)


@pytest.mark.parametrize(
    ("own", "doubted"),
    [
        ([0.05, 0.05, 0.05], True),
        ([0.05, 0.05, 0.6], False),  # one clip is right
        ([0.3, 0.3, 0.3], False),  # not sure
        ([0.05], False),  # one clip may be an accident
        ([0.005], True),
        ([float("nan")] * 3, False),
    ],
)
def test_only_a_sure_contradiction_on_all_clips_alone_puts_a_label_in_doubt(own, doubted):
    clips = [*a_good_model(), *(("odd", 1, p) for p in own)]
    assert [row.speaker for row in suspects(predictions(clips), CLASSES)] == (["odd"] if doubted else [])


def test_shared_clips_say_nothing_of_a_label():
    clips = [*a_good_model(), ("odd s1", 1, 0.01), ("odd s3", 1, 0.01), ("odd", 1, 0.05), ("odd", 1, 0.05), ("odd s5", 1, 0.99)]
    assert [row.speaker for row in suspects(predictions(clips), CLASSES)] == ["odd"]


def test_a_model_that_knows_one_class_only_is_no_witness():
    clips = [(f"s{k}", k % 2, 0.99 if k % 2 else 0.01) for k in range(20) for _ in range(3)]
    assert suspects(predictions(clips), CLASSES) == []
