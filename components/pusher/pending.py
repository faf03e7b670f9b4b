# SPDX-License-Identifier: Apache-2.0
"""Pending models, which wait for a person's decision, kept in the serving folder itself, where no model server looks.

Where the pipeline runs on other machines, whoever decides has neither its artifacts nor its metadata store, only that folder.
"""

import re
import shutil
from pathlib import Path

from pydantic import BaseModel

from beam_jobs.errors import UserError
from components.model_digest import model_digest
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import CHANGED, PENDING_FOLDER, locked
from components.pusher.versions import COMING, GOING
from components.run_id import RUN_ID

MODEL = "model"
CANDIDATE_FILE = "candidate.json"


class Candidate(BaseModel):
    """A pending model: what goes into its provenance, and the version it was compared with, empty for none."""

    provenance: Provenance
    compared_with: str
    waiting_for: str


def keep_pending(model: Path, serving: Path, candidate: Candidate) -> None:
    """Keeps a copy of a model for a decision, whole or not at all, in place of an earlier one of the same run.

    Raises:
        UserError: the model was changed, or the serving folder cannot be written.
    """
    folder = _folder(serving, candidate.provenance.run_id)
    coming = folder.with_name(f"{COMING}{folder.name}")
    try:
        with locked(serving):
            shutil.copytree(model, coming / MODEL)
            if model_digest(coming / MODEL) != candidate.provenance.model_digest:
                shutil.rmtree(coming)
                raise UserError(f"{model}: {CHANGED}; it is not kept for a decision")
            (coming / CANDIDATE_FILE).write_text(candidate.model_dump_json(indent=1) + "\n")
            _remove(folder)
            coming.rename(folder)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror}; the waiting model was not kept") from None


def pending_candidate(serving: Path, run_id: str) -> tuple[Path, Candidate]:
    """The SavedModel's folder of a run whose model is pending, and what is known of it.

    Raises:
        UserError: no model of that run is pending.
    """
    folder = serving / PENDING_FOLDER / run_id
    there = pending_runs(serving)
    if run_id not in there:
        waiting = ", ".join(there) or "none"
        raise UserError(f"{serving}: no model of run {run_id or '(none given)'} is waiting; there are {waiting}")
    return folder / MODEL, Candidate.model_validate_json((folder / CANDIDATE_FILE).read_text())


def pending_runs(serving: Path) -> list[str]:
    """Ids of the runs whose models are pending."""
    folder = serving / PENDING_FOLDER
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []


def drop_pending(serving: Path, run_id: str) -> None:
    """Removes the copy of a model that was decided on.

    Raises:
        UserError: the serving folder cannot be written.
    """
    folder = _folder(serving, run_id)
    try:
        with locked(serving):
            _remove(folder)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: {error.strerror}; the model is no longer waiting, but its files could not be removed"
        ) from None


def _remove(folder: Path) -> None:
    """Out of sight first: half a model is none that waits."""
    if folder.exists():
        going = folder.with_name(f"{GOING}{folder.name}")
        folder.rename(going)
        shutil.rmtree(going)


def _folder(serving: Path, run_id: str) -> Path:
    # Not even by mistake the folder of all models that are pending, or one elsewhere.
    assert re.fullmatch(RUN_ID, run_id), repr(run_id)
    return serving / PENDING_FOLDER / run_id
