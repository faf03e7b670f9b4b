# SPDX-License-Identifier: Apache-2.0
"""Candidates, which a server tries before they come into serving, and what became of them: both in the serving folder.

A candidate lies in `.candidate/<version>`, where no model server looks for versions. Whoever uses the functions that change
something holds the folder's lock.
"""

import shutil
from collections.abc import Container
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from beam_jobs.console import say
from beam_jobs.files import write_atomically
from components.pusher.provenance import read_provenance
from components.pusher.versions import GOING, versions

CANDIDATE_FOLDER = ".candidate"
DECISIONS_FILE = ".canary.json"
MAX_DECISIONS = 100
SERVER = "serve"
"""Who promotes and rolls back, in provenances and in what is withdrawn."""

Outcome = Literal["promoted", "rolled back", "superseded"]


class Decision(BaseModel):
    """What became of a candidate, or of a version in serving that a server rolled back, and what was measured.

    `superseded` is a candidate of which nothing was decided, because another model came. `when` is ISO 8601 in UTC; `against` is
    the version that was in serving, 0 where none had a part in it.
    """

    version: int
    outcome: Outcome
    why: str
    when: str
    against: int = 0
    requests: int = 0
    login: str = ""

    @classmethod
    def now(cls, version: int, outcome: Outcome, why: str, against: int = 0, requests: int = 0, login: str = "") -> "Decision":
        """One that is made now."""
        when = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(version=version, outcome=outcome, why=why, when=when, against=against, requests=requests, login=login)


_FILE = TypeAdapter(list[Decision])


def candidate(serving: Path) -> int | None:
    """The version of the candidate that is there; None where there is none."""
    return next(reversed(versions(serving / CANDIDATE_FOLDER)), None)


def read_decisions(serving: Path) -> list[Decision]:
    """Those of a serving folder, the oldest first; none where the file is missing or damaged."""
    try:
        return _FILE.validate_json((serving / DECISIONS_FILE).read_bytes())
    except (OSError, ValidationError):
        return []


def fate(serving: Path, version: int) -> Decision | None:
    """What became of a version that was a candidate; None where it still is one."""
    for decision in read_decisions(serving):
        if decision.version == version:  # the first: a promoted version may be rolled back later
            return decision
    if version == candidate(serving):
        return None
    known = read_provenance(serving, version)  # the record was cut off, or lost
    if known:
        return Decision(version=version, outcome="promoted", why=known.note, when=known.pushed_at, login=known.login)
    return Decision(version=version, outcome="superseded", why="it is gone, and nothing says why", when="")


def remember(serving: Path, decision: Decision) -> None:
    """Adds one; what is tried again is remembered once. Raises OSError."""
    known = read_decisions(serving)
    if any((one.version, one.outcome) == (decision.version, decision.outcome) for one in known):
        return
    known = [*known, decision][-MAX_DECISIONS:]
    write_atomically(str(serving / DECISIONS_FILE), _FILE.dump_json(known, indent=1) + b"\n")


def remember_if_possible(serving: Path, decision: Decision) -> None:
    """Adds one that is carried out already; where that cannot be written, it stands all the same."""
    try:
        remember(serving, decision)
    except OSError as error:
        say(
            f"warning: {serving / DECISIONS_FILE}: cannot be written ({error.strerror}); version {decision.version} is "
            f"{decision.outcome} all the same"
        )


def end_trial(serving: Path, why: str, digests: Container[str] | None = None) -> None:
    """Takes the candidate away without a verdict of a server; with `digests` only where it is one of these models."""
    folder = serving / CANDIDATE_FOLDER
    for version in versions(folder):
        known = read_provenance(folder, version)
        if digests is None or (known and known.model_digest in digests):
            remember(serving, Decision.now(version, "superseded", why))
            remove_candidate(serving, version)


def remove_candidate(serving: Path, version: int) -> None:
    """Out of sight first: half a candidate is none."""
    going = serving / CANDIDATE_FOLDER / f"{GOING}{version}"
    (serving / CANDIDATE_FOLDER / str(version)).rename(going)
    shutil.rmtree(going)
