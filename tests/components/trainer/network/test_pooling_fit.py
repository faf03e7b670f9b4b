# SPDX-License-Identifier: Apache-2.0
"""Scale and bias of a network's pooling, from clips of speakers that it has not heard."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from components.trainer.network.pooling import DEFAULT_FIT, PoolingFit, class_probabilities
from components.trainer.network.pooling_fit import fit_pooling

MIXED = 2


def draw(count: int, fit: PoolingFit, seed: int = 0, singles: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Clips in which each voice is present with the probability that `fit` says; those with none are not clips."""
    rng = np.random.default_rng(seed)
    pooled = rng.normal(0, 3, (4 * count, singles))
    present = rng.uniform(size=pooled.shape) < expit(fit.scale * pooled + fit.bias)
    heard = present.any(axis=1)
    labels = np.where(present.sum(axis=1) > 1, singles, present.argmax(axis=1))
    return pooled[heard][:count], labels[heard][:count]


@pytest.mark.parametrize("singles", [2, 3])
@pytest.mark.parametrize("fit", [DEFAULT_FIT, PoolingFit(0.7, -0.6), PoolingFit(2.5, 1.5)])
def test_it_finds_what_the_clips_were_drawn_with(fit, singles):
    found = fit_pooling(*draw(3000, fit, singles=singles))

    assert found.scale == pytest.approx(fit.scale, rel=0.1)
    assert found.bias == pytest.approx(fit.bias, abs=0.15)


def test_a_fit_of_200_clips_answers_new_ones_better():
    true = PoolingFit(0.7, -1.0)
    found = fit_pooling(*draw(200, true, seed=1))

    def cross_entropy(fit: PoolingFit) -> float:
        pooled, labels = draw(2000, true, seed=2)
        return -np.log(class_probabilities(tf.constant(pooled), MIXED, fit).numpy()[np.arange(2000), labels]).mean()

    assert cross_entropy(found) < cross_entropy(DEFAULT_FIT) - 0.03
    assert cross_entropy(found) < cross_entropy(true) + 0.02


@pytest.mark.parametrize("seed", range(4))
def test_few_clips_change_little(seed):
    found = fit_pooling(*draw(5, DEFAULT_FIT, seed))

    assert DEFAULT_FIT.scale / 2 < found.scale < DEFAULT_FIT.scale * 2
    assert abs(found.bias - DEFAULT_FIT.bias) < 1.0


def test_no_clips_change_nothing():
    assert fit_pooling(np.zeros((0, 2)), np.zeros(0, int)) == pytest.approx(DEFAULT_FIT)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.integers(0, 2)), min_size=1, max_size=40))
def test_whatever_the_clips_are_the_scale_is_positive_and_both_are_finite(clips):
    found = fit_pooling(np.array([clip[:2] for clip in clips]), np.array([clip[2] for clip in clips]))

    assert found.scale > 0
    assert np.isfinite(found).all()


def test_clips_that_are_all_told_apart_do_not_make_it_certain():
    # Without a prior the scale would be infinite.
    pooled, labels = np.array([[4.0, -4.0], [-4.0, 4.0], [4.0, 4.0]] * 60), np.array([0, 1, 2] * 60)

    assert fit_pooling(pooled, labels).scale < 4 * DEFAULT_FIT.scale
