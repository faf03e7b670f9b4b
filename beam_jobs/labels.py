# SPDX-License-Identifier: Apache-2.0
"""The labels that a corpus gives to speakers, and that a configuration names: any two to fifty."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

DEFAULT_LABELS = ("male", "female")
"""In the order in which clips draw them and pages show them: another order would make other clips of the same seed."""

MIXED = "mixed"
"""The class of a clip with voices of several labels; it comes last."""

MAX_LABELS = 50

NO_SPEECH, UNCERTAIN = "no speech", "uncertain"
"""Answers that are none of the labels."""

TAKEN = (MIXED, NO_SPEECH, UNCERTAIN)
"""Words that mean something else, and cannot be labels."""

VOICE_PITCH_HZ = {
    "male": {"min": 75.0, "max": 420.0, "effort_hz": 150.0, "effort_weight": 4.0},
    "female": {"min": 135.0, "max": 480.0},
}
"""Median pitches that a voice may have by effort alone: calling and shouting raise it, and hardly anything lowers it."""

ANY_VOICE_PITCH_HZ = {"min": 75.0, "max": 480.0}
"""The same for voices of any other label."""


def _distinct(labels: list[str]) -> list[str]:
    if len(set(labels)) < len(labels):
        raise ValueError("a label is listed twice")
    if taken := [label for label in labels if label in TAKEN]:
        raise ValueError(f"{taken[0]!r} cannot be a label, because the model answers it in its own right; use another word")
    return labels


Label = Annotated[str, StringConstraints(pattern=r"^\w([\w .,+()-]*[\w.+)-])?$", max_length=80)]
"""Letters, digits and `_ . , + ( ) -`, and spaces inside, as in Common Voice's accents: it becomes part of a metric's name and a
column of a table."""

Labels = Annotated[list[Label], Field(min_length=2, max_length=MAX_LABELS), AfterValidator(_distinct)]
"""Two to fifty labels, in their order."""


def mixed_index(classes: Sequence[str]) -> int | None:
    """Index of the class `mixed`; None where there is none."""
    return list(classes).index(MIXED) if MIXED in classes else None
