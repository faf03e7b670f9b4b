# SPDX-License-Identifier: Apache-2.0
"""Answers as text: rows for CSV, objects for JSON, Praat's TextGrid, Audacity's labels."""

from collections.abc import Iterator, Sequence
from typing import Any

from components.inference.answers import Prediction, Segment, Timeline

BEFORE_CLASSES, BEHIND_CLASSES = ("file", "label"), ("speech", "duration_s", "error")
SEGMENT_COLUMNS = ("file", "start_s", "end_s", "label", "probability")


def prediction_columns(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of what `prediction_row` gives: each class has the column of its name, or `probability of speech` and the like."""
    return (*BEFORE_CLASSES, *map(_column, classes), *BEHIND_CLASSES)


def _column(label: str) -> str:
    return f"probability of {label}" if label in (*BEFORE_CLASSES, *BEHIND_CLASSES) else label


def prediction_row(name: str, prediction: Prediction) -> dict[str, Any]:
    """A recording's row of a CSV file."""
    found = prediction_object(name, prediction)
    probabilities = {_column(label): value for label, value in found.pop("probabilities").items()}
    return {name: (found | probabilities)[name] for name in prediction_columns(list(prediction.probabilities))}


def segment_rows(name: str, timeline: Timeline) -> Iterator[dict[str, Any]]:
    """A row of a CSV file for each segment."""
    for segment in timeline.segments:
        yield {"file": name, **_segment(segment)}


def prediction_object(name: str, prediction: Prediction) -> dict[str, Any]:
    """A recording as an object of JSON."""
    return {
        "file": name,
        "label": prediction.label,
        "probabilities": {label: round(value, 6) for label, value in prediction.probabilities.items()},
        "speech": round(prediction.speech, 6),
        "duration_s": round(prediction.duration_s, 3),
        "error": prediction.error,
    }


def timeline_object(name: str, timeline: Timeline) -> dict[str, Any]:
    """The same with its segments and totals."""
    totals = {
        label: {"seconds": round(total.seconds, 3), "share": round(total.share, 6)} for label, total in timeline.totals.items()
    }
    return prediction_object(name, timeline.prediction) | {
        "segments": [_segment(segment) for segment in timeline.segments],
        "totals": totals,
    }


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "start_s": round(segment.start_s, 3),
        "end_s": round(segment.end_s, 3),
        "label": segment.label,
        "probability": round(segment.probability, 6),
    }


def textgrid(timeline: Timeline) -> str:
    """A TextGrid of Praat with two tiers, `label` and `probability`, empty where nobody speaks."""
    duration_s = round(timeline.prediction.duration_s, 3)
    intervals: list[tuple[float, float, str, str]] = []  # start, end, the text of each tier
    position = 0.0
    for segment in timeline.segments:
        start_s, end_s = round(segment.start_s, 3), round(segment.end_s, 3)
        if start_s > position:
            intervals.append((position, start_s, "", ""))
        intervals.append((start_s, end_s, segment.label, f"{segment.probability:.4f}"))
        position = end_s
    if position < duration_s:
        intervals.append((position, duration_s, "", ""))
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {duration_s}",
        "tiers? <exists>",
        "size = 2",
        "item []:",
    ]
    texts_of_tiers = zip(*(item[2:] for item in intervals), strict=True)
    for number, (tier, texts) in enumerate(zip(("label", "probability"), texts_of_tiers, strict=True), start=1):
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{tier}"',
            "        xmin = 0",
            f"        xmax = {duration_s}",
            f"        intervals: size = {len(intervals)}",
        ]
        for place, ((start_s, end_s, *_), text) in enumerate(zip(intervals, texts, strict=True), start=1):
            quoted = text.replace('"', '""')
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {start_s}",
                f"            xmax = {end_s}",
                f'            text = "{quoted}"',
            ]
    return "\n".join(lines) + "\n"


def audacity_labels(timeline: Timeline) -> str:
    """A label track of Audacity: a line for each segment, of its start, its end and its label with the probability."""
    return "".join(
        f"{segment.start_s:.6f}\t{segment.end_s:.6f}\t{' '.join(segment.label.split())} {segment.probability:.2f}\n"
        for segment in timeline.segments
    )
