"""The labels that a corpus gives to speakers."""

LABELS = ("male", "female")
"""In the order in which clips draw them and pages show them: another order would make other clips of the same seed."""

VOICE_PITCH_HZ = {
    "male": {"min": 75.0, "max": 420.0, "effort_hz": 150.0, "effort_weight": 4.0},
    "female": {"min": 135.0, "max": 480.0},
}
"""Median pitches that a voice may have by effort alone: calling and shouting raise it, and hardly anything lowers it."""
