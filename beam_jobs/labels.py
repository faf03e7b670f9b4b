"""The labels that a corpus gives to speakers."""

from collections.abc import Sequence

LABELS = ("male", "female")
"""In the order in which clips draw them and pages show them: another order would make other clips of the same seed."""

MIXED = "mixed"
"""The class of a clip with voices of several labels; it comes last."""

VOICE_PITCH_HZ = {
    "male": {"min": 75.0, "max": 420.0, "effort_hz": 150.0, "effort_weight": 4.0},
    "female": {"min": 135.0, "max": 480.0},
}
"""Median pitches that a voice may have by effort alone: calling and shouting raise it, and hardly anything lowers it."""


def mixed_index(classes: Sequence[str]) -> int | None:
    """Index of the class `mixed`; None where there is none."""
    return list(classes).index(MIXED) if MIXED in classes else None
