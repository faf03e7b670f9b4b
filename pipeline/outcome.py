# SPDX-License-Identifier: Apache-2.0
"""How a run is getting on and how it ended, written into its reports folder as it happens: `outcome.json`.

`run.json` tells what a run came to, and is there only where it came to its end; this file is there for every run.
"""

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from pydantic import BaseModel, ValidationError

from beam_jobs.errors import UserError
from beam_jobs.files import write_atomically
from components.alarm import Alarm
from pipeline.workdir import WorkDir

OUTCOME_FILE = "outcome.json"


class NodeTime(BaseModel):
    """How long a node took."""

    node: str
    seconds: float
    cached: bool


class Outcome(BaseModel):
    """What is known of a run while it is at work, and afterwards.

    `at` is the node or stage that is at work, or was when the run ended; `reason` is why it ended there, in one line. `dataset`
    is relative to the work folder. `corpus_digest` stands for what the recordings are, wherever they lie. `alarm` is why
    `watch` started it; None where a person did.
    """

    run_id: str
    started: str
    state: Literal["at work", "finished", "failed", "interrupted"] = "at work"
    at: str = ""
    reason: str = ""
    name: str = ""
    tags: list[str] = []
    corpus: str = ""
    corpus_digest: str = ""
    dataset: str = ""
    dataset_fingerprint: str = ""
    inputs_digest: str = ""
    baseline_version: str | None = None
    code_revision: str = ""
    nodes: list[NodeTime] = []
    seconds: float = 0
    alarm: Alarm | None = None


@contextmanager
def recorded(workdir: WorkDir, outcome: Outcome) -> Iterator[Callable[[str], None]]:
    """Keeps a run's `outcome.json` while the body runs, and says there how it ended.

    Yields what the body calls with each node or stage that begins.
    """

    def write() -> None:
        with suppress(OSError):  # a full disk: the run's own error says so, or it comes to its end all the same
            write_atomically(str(workdir.reports / outcome.run_id / OUTCOME_FILE), outcome.model_dump_json(indent=1).encode())

    def begin(stage: str) -> None:
        outcome.at = stage
        write()

    write()
    try:
        yield begin
        outcome.state, outcome.at = "finished", ""
    except BaseException as error:
        outcome.state = "failed" if isinstance(error, Exception) else "interrupted"
        outcome.reason = in_a_line(error)
        raise
    finally:
        write()


def in_a_line(error: BaseException) -> str:
    """An error's first line; with its kind where nobody wrote it for users."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    first = next(iter(str(error).strip().splitlines()), "")
    return first if isinstance(error, UserError) else f"{type(error).__name__}: {first}"[:300]


def read_outcomes(workdir: WorkDir) -> dict[str, Outcome]:
    """The outcomes of all runs by id, oldest first; those of a run whose file is missing or damaged are left out."""
    found = {}
    for path in sorted(workdir.reports.glob(f"*/{OUTCOME_FILE}")):
        with suppress(OSError, ValidationError):
            found[path.parent.name] = Outcome.model_validate_json(path.read_bytes())
    return found


def now() -> str:
    """The time as it is stored: ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
