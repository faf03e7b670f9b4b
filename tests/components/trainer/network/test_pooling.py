# SPDX-License-Identifier: Apache-2.0
"""From windows to a recording: whoever is clearly heard somewhere is in it."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from components.trainer.network.pooling import DEFAULT_FIT, PoolingFit, class_probabilities, pool_windows

MIXED = 2
MALE_W, FEMALE_W, MIXED_W = np.log([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.01, 0.01, 0.98]])


def pool(windows, weights=None, mixed: int | None = MIXED, fit: PoolingFit = DEFAULT_FIT) -> np.ndarray:
    windows = np.array(windows, np.float32)
    weights = np.ones(len(windows)) if weights is None else np.asarray(weights)
    pooled = pool_windows(tf.constant(windows), tf.constant(weights, tf.float32), mixed)
    return class_probabilities(pooled, mixed, fit).numpy()


@pytest.mark.parametrize(
    ("windows", "label"),
    [
        ([MALE_W] * 20, 0),
        ([FEMALE_W] * 20, 1),
        ([MIXED_W] * 20, 2),
        ([MALE_W] * 10 + [FEMALE_W] * 10, 2),  # no window is mixed
        ([MALE_W] * 16 + [FEMALE_W] * 4, 2),
        ([MALE_W] * 16 + [MIXED_W] * 4, 2),
        ([MALE_W] * 115 + [FEMALE_W] * 1, 0),  # of a minute, one window is an error
        ([MALE_W], 0),
        ([MIXED_W], 2),
    ],
)
def test_who_is_heard_in_a_recording(windows, label):
    probabilities = pool(windows)

    assert probabilities.argmax() == label
    assert probabilities[label] > 0.8


def test_without_mixed_it_is_the_mean_that_counts():
    windows, weights = np.random.default_rng(0).normal(size=(30, 2)), np.random.default_rng(1).uniform(size=30)

    mean = np.average(windows, axis=0, weights=weights)
    assert pool(windows, weights, None) == pytest.approx(np.exp(mean) / np.exp(mean).sum(), abs=1e-6)


windows_of = hnp.arrays(np.float32, st.tuples(st.integers(1, 30), st.just(3)), elements=st.floats(-60, 60, width=32))


@given(windows_of, st.randoms(use_true_random=False))
def test_probabilities_whatever_the_windows_are_and_in_whatever_order(windows, random):
    weights = np.array([random.uniform(0, 100) for _ in windows])
    order = list(range(len(windows)))
    random.shuffle(order)

    probabilities = pool(windows, weights)

    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all() and probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert pool(windows[order], weights[order]) == pytest.approx(probabilities, abs=1e-4)


@given(windows_of, st.integers(1, 20))
def test_windows_without_speech_change_nothing(windows, number):
    weights = np.ones(len(windows))
    silence = np.random.default_rng(number).normal(size=(number, 3), scale=9).astype(np.float32)

    longer = pool(np.concatenate([silence, windows]), np.concatenate([np.zeros(number), weights]))

    assert longer == pytest.approx(pool(windows, weights), abs=1e-5)


@given(windows_of, st.integers(2, 5))
def test_a_recording_played_again_and_again_is_of_the_same_class(windows, times):
    # Short ones may differ: at least a window counts.
    windows = np.repeat(windows, 20, axis=0)

    assert pool(np.tile(windows, (times, 1))) == pytest.approx(pool(windows), abs=1e-4)


def test_exchanged_classes_are_exchanged_in_the_answer():
    windows = np.random.default_rng(2).normal(size=(12, 3), scale=2)

    assert pool(windows[:, [1, 0, 2]]) == pytest.approx(pool(windows)[[1, 0, 2]], abs=1e-6)


def test_three_single_classes():
    windows = np.log(np.full((8, 4), 0.01) + 0.96 * np.eye(4)[[0, 1, 2, 3, 0, 0, 0, 0]])

    for label in range(3):
        assert pool(np.repeat(windows[label : label + 1], 8, axis=0), mixed=3).argmax() == label
    two = pool(np.repeat(windows[[0, 2]], 8, axis=0), mixed=3)
    assert two.argmax() == 3
    assert two.sum() == pytest.approx(1, abs=1e-6)


def test_no_weight_at_all_is_no_nan():
    assert np.isfinite(pool([MALE_W] * 3, np.zeros(3))).all()


def test_rows_are_answered_as_each_alone():
    pooled = np.random.default_rng(3).normal(size=(5, 2), scale=4)

    together = class_probabilities(tf.constant(pooled), MIXED).numpy()

    assert together == pytest.approx(np.array([class_probabilities(tf.constant(row), MIXED).numpy() for row in pooled]))


def test_the_bias_decides_how_much_it_takes_to_be_heard():
    windows = [MALE_W] * 16 + [FEMALE_W] * 4

    low, default, high = (pool(windows, fit=PoolingFit(1.28, bias))[MIXED] for bias in (-4.0, 0.39, 4.0))

    assert low < 0.2 < default < high
