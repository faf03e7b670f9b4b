# SPDX-License-Identifier: Apache-2.0
"""Decision thresholds by class, chosen on speakers whom the network has not heard, and how far few of them can be trusted."""

import math
from collections.abc import Sequence

import numpy as np

from components.trainer.model_run import OperatingPoint

CONFIDENCE = 0.95
DRAWS = 200
MAX_LOG_ODDS = math.log(999)
"""No threshold is further from another than 1 to 999: no finite number of clips can say more."""
SMALLEST_PROBABILITY = 1e-9
MAX_ROUNDS = 10
"""Of turns through the classes, where there are more than two."""


def choose_thresholds(
    labels: np.ndarray, probabilities: np.ndarray, speaker_ids: Sequence[Sequence[str]], seed: int = 0
) -> OperatingPoint:
    """The thresholds with the best balanced accuracy (mean recall of the classes), and their interval over speakers.

    As scikit-learn's `TunedThresholdClassifierCV` scores by default. Where even thresholds are as good as any, they stay; else
    each new one lies in the middle (on the scale of log-odds) of all that are equally good.

    Args:
        labels: int64 [clips].
        probabilities: float [clips, classes].
        speaker_ids: who is heard in each clip.
        seed: of the draws of speakers that the interval is made from.

    Returns:
        Them, with the clips they were chosen on.
    """
    names = sorted({name for clip in speaker_ids for name in clip})
    heard = np.array([[name in clip for name in names] for clip in map(set, speaker_ids)], np.float64)
    heard /= np.maximum(heard.sum(axis=1, keepdims=True), 1)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    drawn = np.array([best_thresholds(labels, probabilities, heard @ draw) for draw in draws])
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    chosen = best_thresholds(labels, probabilities)
    return OperatingPoint(
        chosen=chosen.tolist(),
        low=np.minimum(low, chosen).tolist(),
        high=np.maximum(high, chosen).tolist(),
        confidence=CONFIDENCE,
        speakers=len(names),
        labels=labels.tolist(),
        probabilities=np.asarray(probabilities, np.float64).tolist(),
    )


def best_thresholds(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The thresholds with the best balanced accuracy on some clips, weighed: float64 [classes], together 1."""
    num_classes = probabilities.shape[1]
    weights = np.ones(len(labels)) if weights is None else weights
    totals = np.bincount(labels, weights, num_classes)
    gain = weights / np.maximum(totals, 1e-12)[labels]  # what a clip that is right adds to the sum of recalls
    log_p = np.log(np.maximum(np.asarray(probabilities, np.float64), SMALLEST_PROBABILITY))
    # A class wins where log p - log threshold is the greatest. Only the differences count, so the first class stays at 0.
    offsets = np.zeros(num_classes)
    for _ in range(MAX_ROUNDS if num_classes > 2 else 1):
        before = offsets.copy()
        for number in range(1, num_classes):
            offsets[number] = _best_offset(labels, log_p, gain, offsets, number)
        if np.array_equal(before, offsets):
            break
    thresholds = np.exp(-offsets)
    found: np.ndarray = thresholds / thresholds.sum()
    return found


def _best_offset(labels: np.ndarray, log_p: np.ndarray, gain: np.ndarray, offsets: np.ndarray, number: int) -> float:
    """The best offset of one class, the others' as they are: exact, for only the clips' own borders change anything."""
    others = log_p + offsets
    others[:, number] = -np.inf
    order = np.argsort(border := others.max(axis=1) - log_p[:, number])
    rival = others.argmax(axis=1)[order]
    of_label = labels[order]
    change = gain[order] * ((of_label == number).astype(float) - (of_label == rival))
    # Between borders k - 1 and k the first k clips are called `number`.
    score = np.concatenate([[0.0], np.cumsum(change)])
    edges = np.clip(np.concatenate([[-np.inf], border[order], [np.inf]]), -MAX_LOG_ODDS, MAX_LOG_ODDS)
    open_ = np.diff(edges) > 0
    best = open_ & (score >= score[open_].max() - 1e-9)
    now = float(offsets[number])
    stretches = _stretches(best, edges)
    if any(low < now < high for low, high in stretches):
        return now
    low, high = min(stretches, key=lambda ends: min(abs(ends[0] - now), abs(ends[1] - now)))
    return (low + high) / 2


def _stretches(best: np.ndarray, edges: np.ndarray) -> list[tuple[float, float]]:
    """The ends of the runs of `best`, whose element k lies between the edges k and k + 1."""
    padded = np.concatenate([[False], best, [False]])
    starts, ends = np.flatnonzero(padded[1:] & ~padded[:-1]), np.flatnonzero(padded[:-1] & ~padded[1:])
    return [(float(edges[start]), float(edges[end])) for start, end in zip(starts, ends, strict=True)]
