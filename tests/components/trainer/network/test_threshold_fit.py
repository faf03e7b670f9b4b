# SPDX-License-Identifier: Apache-2.0
"""Decision thresholds chosen on clips of speakers whom the network has not heard."""

import json
import warnings

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import TunedThresholdClassifierCV
from untrained import RATE_HZ, serve_untrained

from components.decision_rule import predicted_classes, thresholds_of
from components.trainer.fits import choose_thresholds_on_eval
from components.trainer.model_run import OPERATING_POINT_FILE
from components.trainer.network.threshold_fit import best_thresholds, choose_thresholds
from components.trainer.spec import TrainingSpec


def clips_of(count: int, num_classes: int, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that lean towards the last class by `shift` on the scale of log-odds."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, count)
    logits = rng.normal(0, 1.5, (count, num_classes)) + 2 * np.eye(num_classes)[labels]
    logits[:, -1] += shift
    probabilities = np.exp(logits)
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


@given(st.integers(4, 60), st.floats(-4, 4), st.integers(0, 2**16))
@example(4, -4.0, 687)  # the best cut of all is below 0.001
def test_no_other_cut_is_better_between_two_classes(count, shift, seed):
    labels, probabilities = clips_of(count, 2, shift, seed)
    if len(set(labels)) < 2:
        return
    scores = np.sort(probabilities[:, 1])
    # No threshold goes beyond 0.001 and 0.999.
    cuts = np.clip([*((scores[1:] + scores[:-1]) / 2), 0, 1], 0.0011, 0.9989)
    best = max(balanced_accuracy_score(labels, probabilities[:, 1] > cut) for cut in cuts)

    thresholds = best_thresholds(labels, probabilities)

    assert balanced_accuracy_score(labels, predicted_classes(probabilities, thresholds)) >= best - 1e-9
    assert thresholds.sum() == pytest.approx(1)


class Known(ClassifierMixin, BaseEstimator):
    """A classifier of scikit-learn whose probabilities are its input."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, x):
        return x


@pytest.mark.parametrize("shift", [-3.0, -0.5, 1.0, 4.0])
def test_it_is_as_good_as_scikit_learns_own_tuning(shift):
    labels, probabilities = clips_of(400, 2, shift, 3)
    tuned = TunedThresholdClassifierCV(Known().fit(probabilities, labels), cv="prefit", refit=False, thresholds=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned.fit(probabilities, labels)

    found = balanced_accuracy_score(labels, predicted_classes(probabilities, best_thresholds(labels, probabilities)))

    assert found >= tuned.best_score_ - 1e-9
    assert found <= tuned.best_score_ + 0.01


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_a_leaning_model_is_set_right_with_any_number_of_classes(num_classes):
    labels, probabilities = clips_of(2000, num_classes, 3.0, 4)
    before = balanced_accuracy_score(labels, probabilities.argmax(axis=1))

    thresholds = best_thresholds(labels, probabilities)

    assert thresholds[-1] > 1 / num_classes
    others, fresh = clips_of(2000, num_classes, 3.0, 5)
    assert balanced_accuracy_score(others, predicted_classes(fresh, thresholds)) > before + 0.1


def test_even_thresholds_stay_where_none_are_better():
    labels, female = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.7, 0.9])
    assert best_thresholds(labels, np.stack([1 - female, female], axis=1)).tolist() == [0.5, 0.5]


def test_the_middle_of_all_that_are_equally_good_is_taken():
    """AUC 1 and a mistake, because the cut lies wrong."""
    labels, female = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.8, 0.9])
    thresholds = best_thresholds(labels, np.stack([1 - female, female], axis=1))
    odds = np.sqrt(0.6 / 0.4 * 0.8 / 0.2)
    assert thresholds.tolist() == pytest.approx([1 / (1 + odds), odds / (1 + odds)])


def test_a_choice_on_few_speakers_carries_a_wide_interval():
    def width(speakers: int) -> float:
        rng = np.random.default_rng(8)
        labels = np.arange(20 * speakers) // 20 % 2
        logits = np.repeat(rng.normal(0, 2, speakers), 20) + 3 * (labels - 0.5) + rng.normal(0, 0.5, len(labels))
        female = 1 / (1 + np.exp(-logits))
        who = [(str(number // 20),) for number in range(len(labels))]
        point = choose_thresholds(labels, np.stack([1 - female, female], axis=1), who)
        assert point.low[1] <= point.chosen[1] <= point.high[1]
        assert point.speakers == speakers
        return point.high[1] - point.low[1]

    assert width(6) > 2 * width(200)


@pytest.mark.parametrize("setting", ["argmax", "eval"])
def test_the_exported_model_decides_by_what_the_settings_say(setting, make_fn_args, tmp_path):
    """A network of random weights calls all voices the same: it needs another cut to be right about any of a label."""
    fn_args = make_fn_args(tmp_path, sample_rate_hz=RATE_HZ, decision_threshold=setting)
    (tmp_path / "logs").mkdir()
    model = serve_untrained("conv3d", ["male", "female"])

    spec = TrainingSpec.of(fn_args)
    choose_thresholds_on_eval(model, spec.open_clips(), fn_args, spec)
    model.save(fn_args.serving_model_dir)

    point = json.loads((tmp_path / "logs" / OPERATING_POINT_FILE).read_text())
    stored = thresholds_of(tf.saved_model.load(fn_args.serving_model_dir).signatures, 2)
    assert point["used"] == (setting == "eval")
    assert point["chosen"] != [0.5, 0.5]
    assert stored == pytest.approx(point["chosen"] if setting == "eval" else [0.5, 0.5], abs=1e-6)
    assert len(point["labels"]) == 16
    assert "decision thresholds on 16 eval clips of 16 speakers: male" in (tmp_path / "logs" / "training.log").read_text()
