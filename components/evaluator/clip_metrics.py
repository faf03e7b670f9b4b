# SPDX-License-Identifier: Apache-2.0
"""The metrics of the gate in NumPy, for weighted clips; the one implementation behind TFMA's metrics and the intervals."""

from collections.abc import Callable

import numpy as np

from components.decision_rule import predicted_classes

ECE_BINS = 15

Key = tuple[str, int | None]
"""A metric's name and the class that it is of, None for a metric of all classes together."""


def weigher(
    labels: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray | None = None
) -> Callable[[np.ndarray], dict[Key, np.ndarray]]:
    """Prepares the metrics of some clips for any number of weightings.

    Args:
        labels: int64 [clips].
        probabilities: float [clips, classes]. A clip whose row is not finite is predicted as no class, and leaves `auc` and
            `ece` undefined.
        thresholds: by which the model decides, float [classes]; None for even ones. `ece` and `auc` are of probabilities alone.

    Returns:
        A function of weights, float64 [samples, clips], that gives each metric as float64 [samples], NaN where it is not
        defined: `accuracy`; `ece`, the expected calibration error of the most probable class in 15 bins of equal width
        (Guo et al., 2017, https://arxiv.org/abs/1706.04599); `recall` of each class; `auc` of each class against the others,
        where clips with the same score count half (the Mann-Whitney statistic).
    """
    scores = np.asarray(probabilities, np.float64)
    right = predicted_classes(scores, thresholds) == labels
    classes = range(scores.shape[1])
    members = {number: labels == number for number in classes}
    curves = {number: _auc_weigher(members[number], scores[:, number]) for number in classes}
    confidence = scores.max(axis=1, initial=0.0) if len(scores) else np.zeros(0)
    gap = (predicted_classes(scores) == labels) - confidence
    bins = np.clip(np.nan_to_num(confidence * ECE_BINS), 0, ECE_BINS - 1).astype(np.int64)
    in_bin = [bins == number for number in np.unique(bins)]

    def weigh(weights: np.ndarray) -> dict[Key, np.ndarray]:
        total = weights.sum(axis=1)
        found: dict[Key, np.ndarray] = {
            ("accuracy", None): _ratio(weights @ right.astype(np.float64), total),
            ("ece", None): _ratio(np.sum([np.abs(weights[:, inside] @ gap[inside]) for inside in in_bin], axis=0), total),
        }
        for number in classes:
            inside = members[number]
            of_class = weights[:, inside]
            found["auc", number] = curves[number](weights)
            found["recall", number] = _ratio(of_class @ right[inside].astype(np.float64), of_class.sum(axis=1))
        return found

    return weigh


def estimates(labels: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray | None = None) -> dict[Key, float]:
    """The metrics with every clip counted once; NaN where one is not defined."""
    weigh = weigher(labels, probabilities, thresholds)
    return {key: float(values[0]) for key, values in weigh(np.ones((1, len(labels)))).items()}


def confusion_matrix(labels: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray | None = None) -> list[list[int]]:
    """Numbers of clips, a row for each label and a column for each prediction; a clip without a prediction is in none."""
    classes = range(probabilities.shape[1])
    predicted = predicted_classes(probabilities, thresholds)
    return [[int(np.sum((labels == row) & (predicted == column))) for column in classes] for row in classes]


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator > 0)


def _auc_weigher(positive: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    if not np.isfinite(scores).all() or positive.all() or not positive.any():
        return lambda weights: np.full(len(weights), np.nan)
    others = np.sort(scores[~positive])
    order = np.argsort(scores[~positive], kind="stable")
    below, not_above = (np.searchsorted(others, scores[positive], side) for side in ("left", "right"))

    def weigh(weights: np.ndarray) -> np.ndarray:
        of_class, of_others = weights[:, positive], weights[:, ~positive]
        sums = np.zeros((len(weights), len(others) + 1))
        np.cumsum(of_others[:, order], axis=1, out=sums[:, 1:])
        pairs = np.einsum("sc,sc->s", of_class, sums[:, below] + sums[:, not_above]) / 2
        return _ratio(pairs, of_class.sum(axis=1) * of_others.sum(axis=1))

    return weigh
