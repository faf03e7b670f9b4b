# SPDX-License-Identifier: Apache-2.0
"""The section about the operating point: what the decision thresholds cost, and sliders to try others by."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from components.decision_rule import even_thresholds, predicted_classes
from components.evaluator.clip_metrics import confusion_matrix, estimates
from components.review_report.inputs import ReportInputs
from components.trainer.network.threshold_fit import best_thresholds

MAX_CLIPS = 50_000
"""Of a split whose predictions are in the page, for the sliders; 50,000 clips of two classes take 600 kB."""
SAME = 1e-6
NAMES = {"even": "the most probable class", "eval": "chosen on eval", "test": "best on these test clips, in hindsight"}

Split = tuple[str, np.ndarray, np.ndarray]
"""Name, labels int64 [clips], probabilities float32 [clips, classes]."""


def shown(inputs: ReportInputs) -> dict[str, Any]:
    """What the template needs."""
    classes, predictions = inputs.gate.classes, inputs.predictions
    point = inputs.operating_point
    even = even_thresholds(len(classes))
    own = even if predictions.candidate_thresholds is None else predictions.candidate_thresholds
    splits: list[Split] = [("test", predictions.labels, predictions.candidate)]
    if point is not None:
        splits.insert(0, ("eval", np.array(point.labels, np.int64), np.array(point.probabilities, np.float32)))
    cuts = {"even": even}
    if point is not None:
        cuts["eval"] = np.array(point.chosen)
    if np.isfinite(predictions.candidate).all():
        cuts["test"] = best_thresholds(predictions.labels, predictions.candidate)
    used = next((name for name, cut in cuts.items() if name != "test" and np.abs(cut - own).max() < SAME), None)
    rows = [
        {"name": NAMES[name], "used": name == used, "thresholds": _in_words(cut, classes), **_figures(splits, cut, classes)}
        for name, cut in cuts.items()
    ]
    if used is None:
        row = {"name": "the model's own", "used": True, "thresholds": _in_words(own, classes), **_figures(splits, own, classes)}
        rows.insert(0, row)
    mistakes = _figures(splits, own, classes)["splits"]["test"]["wrong"]
    fewest = rows[-1]["splits"]["test"]["wrong"] if "test" in cuts else mistakes
    buttons = [(NAMES[name], [float(value) for value in cut]) for name, cut in cuts.items() if name != "test"]
    return {
        "operating": {
            "point": point,
            "even_outside": point is not None and point.clear(),
            "interval": _intervals(point, classes) if point is not None else [],
            "rows": rows,
            "thresholds": [float(value) for value in own],
            "sliders": [(number, classes[number]) for number in ([1] if len(classes) == 2 else range(len(classes)))],
            "splits": [name for name, *_ in splits],
            "matrices": {name: confusion_matrix(labels, scores, own) for name, labels, scores in splits},
            "now": _figures(splits, own, classes)["splits"],
            "buttons": buttons,
            "mistakes": mistakes,
            "of_the_cut": mistakes - fewest,
            "data": _data(splits, own) if max(len(labels) for _, labels, _ in splits) <= MAX_CLIPS else None,
            "max_clips": MAX_CLIPS,
        }
    }


def _figures(splits: Sequence[Split], thresholds: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    found = {}
    for name, labels, scores in splits:
        values = estimates(labels, scores, thresholds)
        found[name] = {
            "accuracy": _number(values["accuracy", None]),
            "recalls": [_number(values["recall", number]) for number in range(len(classes))],
            "wrong": int((predicted_classes(scores, thresholds) != labels).sum()),
            "clips": len(labels),
        }
    return {"splits": found}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _in_words(thresholds: np.ndarray, classes: Sequence[str]) -> str:
    """`female above 0.620`, or with more classes the threshold of each."""
    if len(classes) == 2:
        return f"{classes[1]} above {thresholds[1]:.3f}"
    return ", ".join(f"{name} {value:.3f}" for name, value in zip(classes, thresholds, strict=True))


def _intervals(point: Any, classes: Sequence[str]) -> list[str]:
    numbers = [1] if len(classes) == 2 else range(len(classes))
    return [f"{classes[k]} {point.low[k]:.3f}\u2013{point.high[k]:.3f}" for k in numbers]


def _data(splits: Sequence[Split], thresholds: np.ndarray) -> dict[str, Any]:
    """What the sliders count: the predictions as they are, bit for bit."""
    return {
        "thresholds": [float(value) for value in thresholds],
        "splits": [
            {"name": name, "labels": _base64(labels.astype("<u1")), "scores": _base64(scores.astype("<f4"))}
            for name, labels, scores in splits
        ],
    }


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()
