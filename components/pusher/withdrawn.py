# SPDX-License-Identifier: Apache-2.0
"""Models that a person took out of serving, or kept out of it: remembered in the serving folder, by their digest.

No run pushes one by itself again: its Trainer comes from the cache with the same bytes as before. Whoever uses these functions
holds the folder's lock.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from beam_jobs.errors import UserError
from beam_jobs.files import write_atomically

WITHDRAWN_FILE = ".withdrawn.json"


class Withdrawal(BaseModel):
    """Who took which model out, when and why. `when` is ISO 8601 in UTC."""

    model_digest: str
    action: Literal["rolled back", "rejected"]
    by: str
    login: str
    when: str
    note: str = ""
    run_id: str = ""

    def __str__(self) -> str:
        """As a part of a sentence about the model."""
        return f"{self.action} by {self.by} on {self.when[:10]}{f': {self.note}' if self.note else ''}"


_FILE = TypeAdapter(list[Withdrawal])


def read_withdrawn(serving: Path) -> dict[str, Withdrawal]:
    """What was withdrawn and has not been put back since, by digest.

    Raises:
        UserError: the file is damaged.
    """
    path = serving / WITHDRAWN_FILE
    try:
        return {item.model_digest: item for item in _FILE.validate_json(path.read_bytes())}
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a list of withdrawn models"
        raise UserError(
            f"{path}: damaged ({why}); restore it from a copy, or remove it; withdrawn models may then be pushed again"
        ) from None


def add_withdrawn(serving: Path, items: Iterable[Withdrawal]) -> None:
    """Remembers models. Raises as `read_withdrawn`, and OSError."""
    _write(serving, read_withdrawn(serving) | {item.model_digest: item for item in items})


def forget_withdrawn(serving: Path, digest: str) -> None:
    """A person put this model into serving. Raises as `read_withdrawn`, and OSError."""
    known = read_withdrawn(serving)
    if known.pop(digest, None):
        _write(serving, known)


def _write(serving: Path, known: dict[str, Withdrawal]) -> None:
    write_atomically(str(serving / WITHDRAWN_FILE), _FILE.dump_json(list(known.values()), indent=1) + b"\n")
