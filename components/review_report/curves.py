# SPDX-License-Identifier: Apache-2.0
"""What the charts and tables of the report show, computed from labels and probabilities: NumPy in, plain rows out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from components.decision_rule import predicted_classes
from components.evaluator.clip_metrics import ECE_BINS

MAX_POINTS = 300
RECALLS = (0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Scores:
    """What one model answered: `labels` int64 [clips], `probabilities` float32 [clips, classes], `thresholds` float [classes]."""

    model: str
    labels: np.ndarray
    probabilities: np.ndarray
    thresholds: np.ndarray | None = None

    def of_class(self, number: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Whether each clip is of a class, and its score; None where one of the two kinds is missing. Non-finite scores go."""
        scores = self.probabilities[:, number]
        finite = np.isfinite(scores)
        positive, scores = self.labels[finite] == number, scores[finite]
        return None if positive.all() or not positive.any() else (positive, scores)


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a curve from left to right, the area under it, and its height at some places, for a table."""

    model: str
    x: list[float]
    y: list[float]
    area: float
    at: dict[float, float]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Clips whose highest probability lies in one bin: how sure the model was of them, and how often it was right."""

    model: str
    low: float
    high: float
    clips: int
    confidence: float
    accuracy: float


def roc(scores: Scores, number: int) -> Curve | None:
    """True over false positive rate of a class against the others; `at` gives the false positive rate at some recalls."""
    if (found := scores.of_class(number)) is None:
        return None
    false_positive, true_positive, _ = roc_curve(*found)
    at = {recall: float(false_positive[np.argmax(true_positive >= recall)]) for recall in RECALLS}
    x, y = _thinned(false_positive, true_positive)
    return Curve(scores.model, x, y, float(roc_auc_score(*found)), at)


def operating_point(scores: Scores, number: int) -> tuple[str, float, float] | None:
    """The model's name, and where on the ROC curve of a class its decisions are; None where there is no such curve."""
    of_class = scores.labels == number
    if of_class.all() or not of_class.any():
        return None
    taken = predicted_classes(scores.probabilities, scores.thresholds) == number
    return scores.model, float(taken[~of_class].mean()), float(taken[of_class].mean())


def by_threshold(scores: Scores, classes: Sequence[str]) -> list[dict[str, float | None]]:
    """Accuracy and recall of both classes with thresholds of the second one from 0.005 to 0.995."""
    rows = []
    for cut in np.arange(1, 200) / 200:
        predicted = predicted_classes(scores.probabilities, np.array([1 - cut, cut]))
        row: dict[str, float | None] = {"threshold": float(cut), "accuracy": float(np.mean(predicted == scores.labels))}
        for number, name in enumerate(classes):
            of_class = scores.labels == number
            row[f"recall of {name}"] = float(np.mean(predicted[of_class] == number)) if of_class.any() else None
        rows.append(row)
    return rows


def precision_recall(scores: Scores, number: int) -> Curve | None:
    """Precision over recall of a class; `at` gives the precision at some recalls."""
    if (found := scores.of_class(number)) is None:
        return None
    precision, recall, _ = precision_recall_curve(*found)
    precision, recall = precision[::-1], recall[::-1]
    at = {wanted: float(precision[recall >= wanted].max()) for wanted in RECALLS}
    x, y = _thinned(recall, precision)
    return Curve(scores.model, x, y, float(average_precision_score(*found)), at)


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float]]:
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), MAX_POINTS)).round().astype(int))
    return x[keep].round(5).tolist(), y[keep].round(5).tolist()


def reliability(scores: Scores) -> list[ReliabilityBin]:
    """The filled bins of a reliability diagram over the highest probability: those that the gate's calibration error is of."""
    predicted = predicted_classes(scores.probabilities)
    known = predicted >= 0
    confidence, right = scores.probabilities[known].max(axis=1, initial=0.0), (predicted == scores.labels)[known]
    number = np.clip(confidence * ECE_BINS, 0, ECE_BINS - 1).astype(int)
    return [
        ReliabilityBin(
            scores.model,
            k / ECE_BINS,
            (k + 1) / ECE_BINS,
            int(inside.sum()),
            float(confidence[inside].mean()),
            float(right[inside].mean()),
        )
        for k in np.unique(number)
        for inside in [number == k]
    ]


def score_histogram(scores: Scores, number: int, classes: Sequence[str], num_bins: int = 20) -> dict[str, list[int]]:
    """How many clips of each label got which probability of class `number`, in equal bins from 0 to 1."""
    values = scores.probabilities[:, number]
    return {
        name: np.histogram(values[(scores.labels == label) & np.isfinite(values)], num_bins, (0, 1))[0].tolist()
        for label, name in enumerate(classes)
    }


def worst_clips(labels: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray, count: int) -> list[int]:
    """Positions of the clips that were taken for another class, the surest mistakes first."""
    wrong = np.flatnonzero(predicted != labels)
    of_label = np.nan_to_num(probabilities[wrong, labels[wrong]], nan=-1.0)
    return wrong[np.argsort(of_label, kind="stable")][:count].tolist()
