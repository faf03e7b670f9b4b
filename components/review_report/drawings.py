# SPDX-License-Identifier: Apache-2.0
"""The report's figures: of each chart the drawing, what it shows in words, and its numbers."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import markupsafe
import numpy as np

from beam_jobs.html_pages import label_color
from components.review_report import charts, curves
from components.review_report.formatting import decimal, the
from components.review_report.inputs import ReportInputs

MAX_CLASSES = 4
"""That have charts of their own: fifty would be a page that nobody reads."""
OTHERS = "all others"


def drawn(inputs: ReportInputs) -> list[dict[str, Any]]:
    """The charts in the order of the page: `title`, `note`, `svg`, and a table of `columns` and `rows`."""
    gate, scores = inputs.gate, inputs.scores()
    two = len(gate.classes) == 2
    numbers = [1] if two else _hardest(scores[0], len(gate.classes))
    mirrored = f" With two classes the curve of {gate.classes[0]} is its mirror image." if two else ""
    if len(numbers) < len(gate.classes) and not two:
        mirrored = f" Of {len(gate.classes)} classes the {len(numbers)} with the lowest AUC are drawn."
    found: list[dict[str, Any]] = []
    for number in numbers:
        name = gate.classes[number]
        if roc := [curve for item in scores if (curve := curves.roc(item, number))]:
            points = [point for item in scores if (point := curves.operating_point(item, number))]
            svg = charts.curves(roc, "False positive rate", "True positive rate", step=False, diagonal=True, points=points)
            columns = ("model", "AUC", *(f"at recall {recall:g}" for recall in curves.RECALLS))
            note = (
                f"The share of other clips that are taken for {name}, against the share of {name} that is found; "
                f"the dot is the threshold that the model uses.{mirrored}"
            )
            found.append(_chart(f"ROC of {name}", note, svg, columns, [_curve_row(curve) for curve in roc]))
        if recall := [curve for item in scores if (curve := curves.precision_recall(item, number))]:
            svg = charts.curves(recall, "Recall", "Precision", step=True)
            columns = ("model", "average", *(f"at recall {recall:g}" for recall in curves.RECALLS))
            note = f"Of the clips called {name}, the share that is, over the share of {name} that is found."
            found.append(_chart(f"Precision and recall of {name}", note, svg, columns, [_curve_row(item) for item in recall]))
    if bins := [item for model in scores for item in curves.reliability(model)]:
        svg = charts.reliability(bins, [item.model for item in scores], 1 / len(gate.classes))
        in_bins = [
            (item.model, f"{item.low:.2f} to {item.high:.2f}", str(item.clips), f"{item.confidence:.3f}", f"{item.accuracy:.3f}")
            for item in bins
        ]
        note = (
            "On the dotted line, confidence equals accuracy; below it, the model is overconfident. "
            "Dots grow with the number of clips."
        )
        found.append(_chart("Reliability", note, svg, ("model", "confidence", "clips", "mean", "right"), in_bins))
    for number in numbers:
        name = gate.classes[number]
        counts = curves.score_histogram(scores[0], number, gate.classes)
        colors = [label_color(position) for position in range(len(counts))]
        if len(counts) > MAX_CLASSES:
            others = [sum(values) for values in zip(*(counts[label] for label in counts if label != name), strict=True)]
            counts, colors = {name: counts[name], OTHERS: others}, [colors[number], "var(--soft)"]
        num_bins = len(next(iter(counts.values())))
        rows = [
            (f"{k / num_bins:.2f} to {(k + 1) / num_bins:.2f}", *(str(values[k]) for values in counts.values()))
            for k in range(num_bins)
        ]
        note = f"Scores of {the(inputs.candidate_name)} for clips of each label; few in the middle is a clear separation."
        svg = charts.histogram(counts, name, colors)
        found.append(_chart(f"Scores for {name}", note, svg, (f"probability of {name}", *counts), rows))
    if two:
        found.append(_threshold_chart(scores[0], gate.classes))
    return found + _training_charts(inputs.history)


def _hardest(scores: curves.Scores, num_classes: int) -> list[int]:
    """The classes that are drawn, in their order: all, or those with the lowest AUC."""
    areas = {number: curve.area for number in range(num_classes) if (curve := curves.roc(scores, number))}
    return sorted(sorted(areas, key=lambda number: areas[number])[:MAX_CLASSES])


def _threshold_chart(scores: curves.Scores, classes: Sequence[str]) -> dict[str, Any]:
    rows = curves.by_threshold(scores, classes)
    cut = 0.5 if scores.thresholds is None else float(scores.thresholds[1])
    columns = (f"threshold of {classes[1]}", *(name for name in rows[0] if name != "threshold"))
    table = [tuple(decimal(value) for value in row.values()) for row in rows[9::10]]
    note = f"On the test clips, for every decision threshold of {classes[1]}; the vertical line is the model's, {cut:.3f}."
    return _chart("Accuracy by threshold", note, charts.by_threshold(rows, columns[0].capitalize(), cut), columns, table)


def _training_charts(history: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    found = []
    for metric in ("loss", "accuracy"):
        rows = [
            {"epoch": row["epoch"], "split": split, "value": row[f"{split}_{metric}"]}
            for row in history
            for split in ("train", "eval")
            if np.isfinite(row.get(f"{split}_{metric}", np.nan))
        ]
        if rows:
            table = [
                (f"{row['epoch']:.0f}", *(decimal(row.get(f"{split}_{metric}")) for split in ("train", "eval")))
                for row in history
            ]
            note = "On the training clips, and on clips of the eval speakers, who are not in training."
            svg = charts.training(rows, metric.capitalize())
            found.append(_chart(f"Training: {metric}", note, svg, ("epoch", "train", "eval"), table))
    return found


def _chart(title: str, note: str, svg: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    # The drawing is Vega's own markup, which escapes what it writes; the rest is escaped by the template.
    head, body = svg.split(">", 1)
    labelled = f'{head} role="img"><title>{html.escape(title)}</title><desc>{html.escape(note)}</desc>{body}'
    return {
        "title": title,
        "note": note,
        "svg": markupsafe.Markup(labelled),  # noqa: S704
        "columns": columns,
        "rows": rows,
    }


def _curve_row(curve: curves.Curve) -> tuple[str, ...]:
    return (curve.model, f"{curve.area:.4f}", *(f"{value:.3f}" for value in curve.at.values()))
