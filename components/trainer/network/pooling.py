# SPDX-License-Identifier: Apache-2.0
"""From the answers for a recording's windows to the one for the recording."""

import math
from typing import NamedTuple

import tensorflow as tf

SHARPNESS = 0.5
"""Of the soft maximum over windows: 0 is their mean and infinity the greatest of them, which one error in a minute decides."""

MAX_LOG_ODDS = 15.0
"""Nobody is surer than that, and single floats cannot tell more from 1."""


class PoolingFit(NamedTuple):
    """What makes log-odds of the soft maximum, fitted to each network (`pooling_fit.py`)."""

    scale: float
    bias: float


DEFAULT_FIT = PoolingFit(scale=1.28, bias=0.39)
"""That of one network. It and `SHARPNESS` were chosen as docs/accuracy.md, With the class mixed, says."""


def pool_windows(logits: tf.Tensor, weights: tf.Tensor, mixed: int | None = None) -> tf.Tensor:
    """What `class_probabilities` makes a recording's answer of.

    Without a class `mixed` it is the windows' mean logits. With it the mean would be wrong: where a man speaks and then a
    woman, hardly a window is mixed. So each single class is looked for where it is heard best: a class is present in a window
    with its own probability and that of `mixed`, and in the recording with the soft maximum of those log-odds.

    Args:
        logits: float32 [windows, classes].
        weights: the speech in each window, float32 [windows].
        mixed: index of the class `mixed`, which comes last; None where there is none.

    Returns:
        float32 [classes], or [classes - 1] with `mixed`.
    """
    if mixed is None:
        return mean_window(logits, weights)
    return _soft_maximum(_presence(logits, mixed), weights)


def mean_window(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """float32 [windows, classes] weighed by [windows] -> [classes]."""
    return tf.linalg.matvec(values, weights, transpose_a=True) / tf.maximum(tf.reduce_sum(weights), 1e-6)


def pool_steps(pooled: tf.Tensor, weights: tf.Tensor, mixed: int | None = None) -> tf.Tensor:
    """What `pool_windows` gives for a recording, of what `pool_windows_by_step` gives for all of its steps.

    Args:
        pooled: float32 [steps, classes], or [steps, classes - 1] with `mixed`.
        weights: float32 [steps].
        mixed: as there.

    Returns:
        float32 [classes], or [classes - 1] with `mixed`.
    """
    return mean_window(pooled, weights) if mixed is None else _soft_maximum(pooled, weights)


def pool_windows_by_step(
    logits: tf.Tensor, speech: tf.Tensor, step: tf.Tensor, steps: tf.Tensor, mixed: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """`pool_windows` for each step of time: of the windows that hear it, weighed by the speech that they hear in it.

    Args:
        logits: float32 [windows, classes].
        speech: float32 [windows, frames of a window].
        step: in which each of those frames lies, int32 [windows, frames of a window].
        steps: how many there are.
        mixed: as in `pool_windows`.

    Returns:
        float32 [steps, classes], or [steps, classes - 1] with `mixed`, zeros where nothing is heard, and weights float32 [steps].
    """
    weights = tf.math.unsorted_segment_sum(speech, step, steps)

    def mean(values: tf.Tensor) -> tf.Tensor:
        total = tf.math.unsorted_segment_sum(speech[:, :, tf.newaxis] * values[:, tf.newaxis], step, steps)
        return total / tf.maximum(weights, 1e-6)[:, tf.newaxis]

    if mixed is None:
        return mean(logits), weights
    values = SHARPNESS * _presence(logits, mixed)
    greatest = tf.reduce_max(values, axis=0)
    return tf.where(
        weights[:, tf.newaxis] > 0,
        (tf.math.log(tf.maximum(mean(tf.exp(values - greatest)), 1e-30)) + greatest) / SHARPNESS,
        0.0,
    ), weights


def class_probabilities(pooled: tf.Tensor, mixed: int | None = None, fit: PoolingFit = DEFAULT_FIT) -> tf.Tensor:
    """The probabilities of a recording's classes: it is mixed where several are present, and otherwise of the one that is.

    Args:
        pooled: what `pool_windows` gave, float [..., classes], or [..., classes - 1] with `mixed`.
        mixed: as there.
        fit: of no use without `mixed`.

    Returns:
        float [..., classes].
    """
    if mixed is None:
        return tf.nn.softmax(pooled)
    log_odds = tf.clip_by_value(fit.scale * pooled + fit.bias, -MAX_LOG_ODDS, MAX_LOG_ODDS)
    present, absent = tf.unstack(tf.sigmoid(log_odds), axis=-1), tf.unstack(tf.sigmoid(-log_odds), axis=-1)
    single = [present[k] * math.prod([*absent[:k], *absent[k + 1 :]]) for k in range(mixed)]
    none, one, several = 1.0, 0.0, 0.0  # of the classes up to here; sums of products, in which nothing cancels out
    for yes, no in zip(present, absent, strict=True):
        none, one, several = none * no, one * no + none * yes, several + one * yes
    probabilities = tf.concat([tf.expand_dims(value, -1) for value in (*single, several)], axis=-1)
    return probabilities / tf.reduce_sum(probabilities, axis=-1, keepdims=True)


def _presence(logits: tf.Tensor, mixed: int) -> tf.Tensor:
    """Log-odds of each single class being heard in each window, alone or not: float32 [windows, mixed]."""

    def log_sum(classes: list[int]) -> tf.Tensor:
        return tf.reduce_logsumexp(tf.gather(logits, classes, axis=1), axis=1)

    others = [[other for other in range(mixed) if other != index] for index in range(mixed)]
    return tf.stack([log_sum([index, mixed]) - log_sum(others[index]) for index in range(mixed)], axis=1)


def _soft_maximum(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """float32 [windows, classes] weighed by [windows] -> [classes]: the logarithm of the mean exponential."""
    log_weights = tf.math.log(tf.maximum(weights, 1e-30))
    return (
        tf.reduce_logsumexp(SHARPNESS * values + log_weights[:, tf.newaxis], axis=0) - tf.reduce_logsumexp(log_weights)
    ) / SHARPNESS
