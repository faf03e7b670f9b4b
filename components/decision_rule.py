# SPDX-License-Identifier: Apache-2.0
"""From probabilities to a class: the one rule, for whatever gives labels or counts mistakes.

A model has a decision threshold for each class (scikit-learn's `TunedThresholdClassifierCV`, TFMA's `class_thresholds`, Vertex
AI's confidence threshold), and its class is the one whose probability is the largest relative to its threshold. Thresholds add up
to 1: with two classes, 0.4 and 0.6 call a clip the second class where its probability is above 0.6. Even ones make it the most
probable class. Probabilities, and with them calibration and AUC, do not depend on thresholds.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from beam_jobs.errors import UserError

THRESHOLDS = "thresholds"
"""The output of a model's signatures that gives them, float32 [batch, classes]."""

SUM_TOLERANCE = 1e-4


def over_thresholds(probabilities: Any, thresholds: Any) -> Any:
    """Probabilities relative to thresholds, whose largest is the class: [..., classes], NumPy arrays or TensorFlow tensors."""
    return probabilities / thresholds


def even_thresholds(num_classes: int) -> np.ndarray:
    """The thresholds that choose the most probable class: float64 [classes]."""
    return np.full(num_classes, 1 / num_classes)


def predicted_classes(probabilities: np.ndarray, thresholds: np.ndarray | None = None) -> np.ndarray:
    """The class of each clip, int64 [clips]; -1 where a probability is no finite number.

    Args:
        probabilities: float [clips, classes].
        thresholds: float [classes]; None for even ones.
    """
    if not len(probabilities):
        return np.zeros(0, np.int64)
    scores = np.asarray(probabilities, np.float64)
    if thresholds is not None:
        scores = over_thresholds(scores, thresholds)
    return np.where(np.isfinite(scores).all(axis=1), scores.argmax(axis=1), -1)


def thresholds_of(signatures: Mapping[str, Any], num_classes: int) -> np.ndarray:
    """The thresholds by which a SavedModel decides, float64 [classes]; even ones of a model from before there were any.

    Raises:
        UserError: they are no thresholds.
    """
    serve = signatures.get("waveform")
    if serve is None or THRESHOLDS not in serve.structured_outputs:
        return even_thresholds(num_classes)
    import tensorflow as tf  # not at the top: a command that only shows figures does without it

    found = np.asarray(serve(tf.zeros([1, 4000]))[THRESHOLDS].numpy()[0], np.float64)
    if found.shape != (num_classes,) or not (found > 0).all() or not abs(found.sum() - 1) <= SUM_TOLERANCE:
        raise UserError(
            f"the model's decision thresholds {found.tolist()} are not {num_classes} positive numbers that add up to 1"
        )
    return found
