# SPDX-License-Identifier: Apache-2.0
"""What the page says first: where the model stands, how sure that is, and what happens next."""

from dataclasses import dataclass, field
from typing import Literal

from components.gate.result import GateResult
from components.review_report.formatting import counts

Verdict = Literal["blessed", "waiting", "on trial", "superseded", "pushed", "refused", "rejected"]

STATUS: dict[Verdict, str] = {
    "blessed": "Blessed",
    "waiting": "Waits for a decision",
    "on trial": "On trial",
    "superseded": "Superseded",
    "pushed": "Pushed",
    "refused": "Refused",
    "rejected": "Rejected",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a model stands after its gate.

    `next_step` is what happens next, in whole sentences; `commands` are what a person may type for it, each with what it does.
    `as_of` is when that was so, and `anew` the command that says how it is later; both are empty on the page of the pipeline's
    own node, which only says what the Pusher will do.
    """

    verdict: Verdict
    next_step: str = ""
    commands: list[tuple[str, str]] = field(default_factory=list)
    as_of: str = ""
    anew: str = ""


def status(gate: GateResult, standing: Standing | None) -> str:
    """The first words of the page; what the gate said where nobody knows what came of it."""
    return STATUS[standing.verdict if standing else "blessed" if gate.blessed else "refused"]


def tone(gate: GateResult, standing: Standing | None) -> Literal["good", "open", "bad"]:
    """`good` only where nothing failed and nothing is left to decide, by the gate or by a person."""
    found = counts(gate.checks)
    if not gate.blessed or found.fail or (standing and standing.verdict in ("refused", "rejected")):
        return "bad"
    if found.undecided or not found.all or (standing and standing.verdict in ("waiting", "on trial", "superseded")):
        return "open"
    return "good"
