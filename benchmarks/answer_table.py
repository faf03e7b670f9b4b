# SPDX-License-Identifier: Apache-2.0
"""Answers of several models about the same sets, as one table."""

from collections.abc import Mapping
from typing import Any

from benchmarks.utterance_scores import BySet, scores_of_answers

Scores = dict[str, dict[str, Any]]
"""By set; see `scores_of_answers`."""


def scores_by_set(answers: BySet) -> Scores:
    return {name: scores_of_answers(part) for name, part in answers.items() if part.labels}


def markdown(columns: Mapping[str, Scores]) -> str:
    """A row for each set: accuracy with its interval, recall by label, ECE, and how often the answer was "no speech"."""
    names = list(dict.fromkeys(name for scores in columns.values() for name in scores))
    lines = [
        "| set | answers | speakers |" + "".join(f" {column} | recall | ECE |" for column in columns),
        "|---|---|---|" + "---|---|---|" * len(columns),
    ]
    for name in names:
        first = next(scores[name] for scores in columns.values() if name in scores)
        cells = [cell for scores in columns.values() for cell in _cells(scores.get(name))]
        lines.append(" | ".join([f"| {name}", str(first["recordings"]), str(first["speakers"]), *cells]) + " |")
    return "\n".join(lines)


def _cells(score: dict[str, Any] | None) -> tuple[str, str, str]:
    if score is None:
        return "-", "-", "-"
    silent = f" ({score['no_speech']} no speech)" if score["no_speech"] else ""
    recall = " / ".join(f"{label} {value:.3f}" for label, value in score["recall"].items())
    ece = "-" if score["ece"] is None else f"{score['ece']:.3f}"
    return f"{score['accuracy']:.3f} [{score['low']:.3f}, {score['high']:.3f}]{silent}", recall, ece
