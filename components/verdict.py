# SPDX-License-Identifier: Apache-2.0
"""One line of a step's log that says what was decided, for whoever reads it or follows the run."""

from beam_jobs.visible import visible

BEGINNING = "verdict: "
WAITS = "waits for approval"


def log_verdict(verdict: str) -> None:
    """Writes it to the step's log."""
    print(visible(f"{BEGINNING}{verdict}"), flush=True)
