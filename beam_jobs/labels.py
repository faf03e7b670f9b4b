"""The labels that a corpus gives to speakers."""

LABELS = ("male", "female")
"""In the order in which clips draw them and pages show them: another order would make other clips of the same seed."""
