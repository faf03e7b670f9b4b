# SPDX-License-Identifier: Apache-2.0
"""Intervals by a bootstrap over speakers: their properties, and how often they hold the truth."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from components.evaluator.clip_metrics import estimates, weigher
from components.gate.intervals import SpeakerDraws, estimate_of, sample

ACCURACY = ("accuracy", None)


def interval(right, speaker_ids, samples=400, seed=0, minus=None):
    """The interval of the accuracy of a model that is right about the clips where `right` holds."""
    draws = SpeakerDraws(speaker_ids, samples, seed)
    labels, everywhere = np.zeros(len(right), np.int64), np.ones(len(right), bool)

    def drawn(right):
        first = np.where(right, 0.9, 0.1)
        return sample(draws, labels, np.stack([first, 1 - first], axis=1), everywhere)

    value = float(np.mean(right))
    if minus is None:
        return estimate_of(value, drawn(right), ACCURACY, 0.95)
    return estimate_of(value - float(np.mean(minus)), drawn(right), ACCURACY, 0.95, minus=drawn(minus))


def width(found):
    return found.high - found.low


@given(st.integers(2, 6), st.integers(1, 5), st.integers(0, 99))
def test_an_interval_holds_its_estimate(pairs, clips_each, seed):
    rng = np.random.default_rng(seed)
    speakers = [(str(k),) for k in range(2 * pairs) for _ in range(clips_each)]
    right = rng.random(len(speakers)) < 0.5
    found = interval(right, speakers, samples=100, seed=seed)
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(st.booleans(), st.lists(st.sets(st.sampled_from("abcdef"), min_size=1, max_size=4), min_size=2, max_size=30))
def test_it_does_not_collapse_where_every_clip_has_the_same_outcome(outcome, speakers):
    speakers = [tuple(names) for names in speakers] + [("g",)]
    found = interval(np.full(len(speakers), outcome), speakers, samples=100)
    # The rule of three is what is left with many speakers: 3.7 of them for two sides of 95 %.
    units = len(set().union(*speakers)) / np.mean([len(names) for names in speakers])
    far = 0.025 ** (1 / units)
    assert (found.low, found.high) == (pytest.approx(far if outcome else 0), pytest.approx(1 if outcome else 1 - far))


def test_without_a_mistake_it_is_the_exact_bound_of_scipy():
    speakers = [(str(k % 6),) for k in range(48)]
    found = interval(np.ones(48, bool), speakers)
    assert found.low == pytest.approx(scipy.stats.binomtest(6, 6).proportion_ci(0.95, "exact").low)
    # One side of 95 %, as the issue has it.
    draws = SpeakerDraws(speakers, 100)
    scores = np.tile([1.0, 0.0], (48, 1))
    perfect = sample(draws, np.zeros(48, np.int64), scores, np.ones(48, bool))
    assert estimate_of(1.0, perfect, ACCURACY, 0.9).low == pytest.approx(0.607, abs=1e-3)


def test_where_speakers_do_not_matter_it_is_the_exact_interval_of_the_clips():
    rng = np.random.default_rng(3)
    right = rng.random(4000) < 0.9
    found = interval(right, [(str(k),) for k in range(4000)], samples=2000)
    exact = scipy.stats.binomtest(int(right.sum()), 4000).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == (pytest.approx(exact.low, abs=2e-3), pytest.approx(exact.high, abs=2e-3))


def test_recall_and_auc_of_a_perfect_model_rest_on_the_speakers_of_the_label():
    speakers = [(str(k % 10),) for k in range(80)]
    labels = np.array([0 if k % 10 < 3 else 1 for k in range(80)])  # three speakers of ten
    scores = np.stack([labels == 0, labels == 1], axis=1).astype(float)
    samples = sample(SpeakerDraws(speakers, 100), labels, scores, np.ones(80, bool))
    for key, units in ((("recall", 0), 3), (("recall", 1), 7), (("auc", 0), 3), (("accuracy", None), 10)):
        assert estimate_of(1.0, samples, key, 0.95).low == pytest.approx(0.025 ** (1 / units))


@pytest.mark.parametrize("speakers", [5, 10, 25, 50])
@pytest.mark.parametrize("errors", [0.01, 0.05, 0.1])
def test_it_holds_the_truth_with_few_speakers_and_few_mistakes(speakers, errors):
    rng = np.random.default_rng(2)
    trials, held = 100, 0
    for trial in range(trials):
        rates = rng.beta(errors, 1 - errors, speakers)  # one half of the variance is the speaker's
        right = rng.random(8 * speakers) >= np.repeat(rates, 8)
        found = interval(right, [(str(k // 8),) for k in range(8 * speakers)], samples=150, seed=trial)
        held += found.low <= 1 - errors <= found.high
    assert held / trials >= 0.88


@pytest.mark.parametrize("clips", [240, 480])
def test_it_widens_with_fewer_speakers(clips):
    # Half of the speakers are understood half of the time, the others always.
    widths = []
    for speakers in (60, 20, 6):
        speaker = np.arange(clips) % speakers
        right = (speaker % 2 == 0) | (np.arange(clips) // speakers % 2 == 0)
        widths.append(width(interval(right, [(str(k),) for k in speaker])))
    assert widths == sorted(widths)
    assert widths[2] > 2 * widths[0]


def test_the_difference_of_a_model_from_itself_is_nothing_and_of_like_models_is_narrow():
    rng = np.random.default_rng(0)
    speakers = [(str(k % 20),) for k in range(400)]
    hard = rng.random(20)[np.arange(400) % 20]
    right = rng.random(400) > 0.5 * hard
    other = right ^ (rng.random(400) < 0.02)

    same = interval(right, speakers, minus=right)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert width(interval(right, speakers, minus=other)) < width(interval(right, speakers)) / 2


def test_a_difference_on_one_speaker_s_clips_has_none_and_that_of_all_has():
    """The one speaker of label 0 is understood worse by the new model: by how much it would be for others, nobody knows."""
    speakers = [(str(k % 6),) for k in range(60)]
    labels = np.array([0 if k % 6 == 0 else 1 for k in range(60)])
    draws, everywhere = SpeakerDraws(speakers, 200), np.ones(60, bool)

    def drawn(wrong):
        right = np.where(np.isin(np.arange(60), wrong), 0.2, 0.8)
        return sample(draws, labels, np.where(labels[:, None] == [0, 1], right[:, None], 1 - right[:, None]), everywhere)

    new, old = drawn([0, 6, 1]), drawn([2])
    for key, known in ((("recall", 0), False), (("auc", 0), False), (("auc", 1), False), (("recall", 1), True), (ACCURACY, True)):
        found = estimate_of(-0.1, new, key, 0.95, minus=old)
        assert (found.low is not None) == known, key
    assert estimate_of(0.8, new, ("recall", 0), 0.95).low < 0.05  # of the value, a bound by one unit


def test_there_is_none_for_a_single_speaker_and_for_what_is_no_number():
    assert interval(np.array([True, False]), [("1",), ("1",)]).low is None
    draws = SpeakerDraws([("1",), ("2",)], 100)
    samples = sample(draws, np.array([0, 1]), np.full((2, 2), np.nan), np.ones(2, bool))
    assert estimate_of(None, samples, ("auc", 0), 0.95).high is None


def test_the_draws_are_the_same_every_time():
    speakers = [("1", "2"), ("2",), ("3",), ("1", "3")]
    right = np.array([True, False, True, False])
    assert interval(right, speakers) == interval(right, speakers)


@pytest.mark.parametrize("most_speakers", [1, 4])
def test_it_holds_the_truth_about_as_often_as_it_says_and_one_over_clips_would_not(most_speakers):
    rng = np.random.default_rng(1)
    trials, speakers, clips, truth = 150, 25, 125, 0.8
    held = held_over_clips = 0
    for trial in range(trials):
        ease = rng.choice([0.6, 1.0], speakers)  # whether a clip is understood hangs on who speaks
        heard = [rng.choice(speakers, rng.integers(1, most_speakers + 1), replace=False) for _ in range(clips)]
        right = rng.random(clips) < [truth + np.mean(ease[names] - 0.8) for names in heard]
        found = interval(right, [tuple(map(str, names)) for names in heard], samples=150, seed=trial)
        over_clips = interval(right, [(str(k),) for k in range(clips)], samples=150, seed=trial)
        held += found.low <= truth <= found.high
        held_over_clips += over_clips.low <= truth <= over_clips.high
    assert 0.86 <= held / trials <= 0.995
    assert held_over_clips / trials < held / trials - 0.08


@settings(max_examples=50)
@given(st.integers(2, 40), st.integers(2, 3), st.booleans(), st.integers(0, 10_000))
def test_weighted_metrics_are_those_of_scikit_learn(clips, classes, ties, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, clips)
    scores = rng.integers(1, 4, (clips, classes)) if ties else rng.random((clips, classes)) + 0.01
    scores = scores / scores.sum(axis=1, keepdims=True)
    weights = rng.integers(0, 3, (1, clips)).astype(float)
    found = weigher(labels, scores)(weights)

    for number in range(classes):
        of_class = labels == number
        if weights[0, of_class].sum() > 0 and weights[0, ~of_class].sum() > 0:
            expected = roc_auc_score(of_class, scores[:, number], sample_weight=weights[0])
            assert found["auc", number][0] == pytest.approx(expected, abs=1e-9)
        else:
            assert np.isnan(found["auc", number][0])
    if weights.sum():
        right = scores.argmax(axis=1) == labels
        assert found[ACCURACY][0] == pytest.approx(np.average(right, weights=weights[0]))


def test_calibration_error_of_a_model_that_is_too_sure():
    labels = np.array([0, 0, 0, 1])
    sure = np.tile([0.99, 0.01], (4, 1))
    assert estimates(labels, sure)["ece", None] == pytest.approx(0.99 - 0.75)
