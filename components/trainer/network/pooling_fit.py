# SPDX-License-Identifier: Apache-2.0
"""What makes log-odds of a recording's pooled windows, fitted to a network by clips of speakers whom it has not heard."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize

from beam_jobs.examples import decode_clip
from components.trainer.network.example import open_example
from components.trainer.network.inference import Inference
from components.trainer.network.pooling import DEFAULT_FIT, PoolingFit, class_probabilities

PRIOR = np.array([0.5, 1.0])
"""How far the logarithm of the scale, and the bias, are expected to be from `DEFAULT_FIT`: standard deviations. For two networks,
12 clips gave scales of 0.96 to 1.46, and 200 gave what they give without a prior, to 0.03 (docs/network.md, The class mixed)."""


def fit_to_clips(inference: Inference, records: Iterable[bytes], sample_rate_hz: int) -> tuple[PoolingFit, int]:
    """Lets a network with the class `mixed` hear some clips, as any recording is heard, and fits its pooling to their labels.

    Args:
        inference: of the network.
        records: serialized tf.Examples of clips.
        sample_rate_hz: of clips that do not say theirs.

    Returns:
        The fit, and the number of clips with speech that it was made from.
    """
    hear = tf.function(
        lambda record: inference.hear(open_example(record, sample_rate_hz))[:2],
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    )
    heard = [(*hear(record), decode_clip(record).label) for record in records]
    with_speech = [(pooled.numpy(), label) for pooled, speech, label in heard if speech > 0]
    if not with_speech:
        return DEFAULT_FIT, 0
    pooled, labels = zip(*with_speech, strict=True)
    return fit_pooling(np.array(pooled), np.array(labels)), len(labels)


def fit_pooling(pooled: np.ndarray, labels: np.ndarray) -> PoolingFit:
    """The most probable scale and bias: least cross entropy of `class_probabilities`, and a normal `PRIOR`.

    Args:
        pooled: what `pool_windows` gave for each clip, float [clips, classes - 1]; the class `mixed` is the last.
        labels: int [clips].
    """
    clips = tf.constant(pooled, tf.float64)

    def moved(by: np.ndarray) -> PoolingFit:
        return PoolingFit(DEFAULT_FIT.scale * float(np.exp(by[0])), DEFAULT_FIT.bias + float(by[1]))

    def loss(by: np.ndarray) -> float:
        probabilities = class_probabilities(clips, pooled.shape[1], moved(by)).numpy()
        return float(np.sum((by / PRIOR) ** 2) / 2 - np.log(probabilities[np.arange(len(labels)), labels]).sum())

    return moved(minimize(loss, np.zeros(2), method="Nelder-Mead").x)
