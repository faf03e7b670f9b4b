# SPDX-License-Identifier: Apache-2.0
"""What became of versions that answered some requests on trial: remembered in the serving folder, for servers and for people."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from beam_jobs.files import write_atomically

DECISIONS_FILE = ".canary.json"
"""In the serving folder: what became of versions on trial, so that a server that is started again knows."""
MAX_DECISIONS = 100


class Decision(BaseModel):
    """What became of a version, and what was measured. `when` is ISO 8601 in UTC."""

    version: int
    outcome: Literal["promoted", "rolled back"]
    why: str
    when: str
    against: int
    requests: int = 0


_FILE = TypeAdapter(list[Decision])


def read_decisions(serving: Path) -> list[Decision]:
    """Those of a serving folder, the oldest first; none where the file is missing or damaged: then versions are tried again."""
    try:
        return _FILE.validate_json((serving / DECISIONS_FILE).read_bytes())
    except (OSError, ValidationError):
        return []


def remember(serving: Path, decision: Decision) -> None:
    """Adds one. Raises OSError."""
    known = [*read_decisions(serving), decision][-MAX_DECISIONS:]
    write_atomically(str(serving / DECISIONS_FILE), _FILE.dump_json(known, indent=1) + b"\n")
