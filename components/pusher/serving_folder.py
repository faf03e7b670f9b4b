# SPDX-License-Identifier: Apache-2.0
"""The folder that a model server polls: one sub-folder a version, which appears whole and never changes.

Its number is greater than that of every version that ever was there. A version is copied under a name that model servers
ignore, put on disk, and renamed in one step. Folders on object stores have no such step: see
`components.pusher.remote_folder`.
"""

import datetime
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from beam_jobs.errors import UserError
from beam_jobs.files import remove, write_atomically
from beam_jobs.locks import lock
from components.model_digest import PROVENANCE_FILE, SIGNATURE_FILE, model_digest
from components.pusher.provenance import Provenance, read_provenance
from components.pusher.trials import CANDIDATE_FOLDER, DECISIONS_FILE, end_trial
from components.pusher.versions import COMING, GOING, versions
from components.pusher.withdrawn import WITHDRAWN_FILE, Withdrawal, add_withdrawn, forget_withdrawn, read_withdrawn
from components.signing import check_public_key, sign, verify

LOCK_FILE = ".lock"
HIGHEST_FILE = ".highest_version"
OWN_FILES = (HIGHEST_FILE, WITHDRAWN_FILE, DECISIONS_FILE)
CHANGED = "its files were changed after they were measured"
PENDING_FOLDER = ".waiting"
"""Of models that wait for a decision (`components.pusher.pending`); as it has always been called: serving folders hold it."""


def version_folder(serving: Path, version: str) -> Path:
    """The folder of a version.

    Raises:
        UserError: there is no such version.
    """
    there = [str(number) for number in versions(serving)]
    if version not in there:
        raise UserError(f"{serving}: no version {version}; there are {', '.join(there) or 'none'}")
    return serving / version


def push(source: Path, serving: Path, provenance: Provenance, keep: int | None, private_key: Path | None = None) -> Provenance:
    """Puts a SavedModel into serving as the newest version.

    Args:
        source: the SavedModel's folder.
        serving: the serving folder; made where it is missing.
        provenance: `version` and `pushed_at` are filled in here, `model_version` where it is 0. `model_digest` is what the files
            must be; where it is empty, what they are.
        keep: versions kept beside the new one; older ones are removed. None for all.
        private_key: signs the version; without one it keeps the signature that `source` has.

    Returns:
        The provenance as it was stored with the version.

    Raises:
        UserError: the model is gone or was changed, the key cannot be used, or the serving folder cannot be written.
    """
    if not (source / "saved_model.pb").is_file():
        raise UserError(f"{source}: has no SavedModel, so there is nothing to push; make a new run")
    try:
        with locked(serving):
            return _put(source, serving, provenance, keep, private_key)
    except OSError as error:
        raise UserError(f"{error.filename or serving}: {error.strerror}; nothing was pushed to {serving}") from None


def _put(source: Path, serving: Path, provenance: Provenance, keep: int | None, private_key: Path | None = None) -> Provenance:
    """The work of `push`, of whoever holds the lock."""
    provenance = bring(source, serving, serving, provenance, private_key)
    if provenance.action != "pushed":  # a person's decision, which is the last one about this model
        forget_withdrawn(serving, provenance.model_digest)
    end_trial(serving, f"version {provenance.version} came into serving")
    if keep is not None:
        remove_old(serving, keep)
    return provenance


def bring(source: Path, serving: Path, folder: Path, provenance: Provenance, private_key: Path | None) -> Provenance:
    """Copies a model into a folder of versions under the next number, of whoever holds the lock. As `push`."""
    version = _next_version(serving)
    coming = folder / f"{COMING}{version}"
    shutil.copytree(source, coming)
    # Of the copy: nobody changes that any more.
    digest = model_digest(coming)
    if digest != (provenance.model_digest or digest):
        shutil.rmtree(coming)
        raise UserError(f"{source}: {CHANGED}; nothing was pushed")
    # Asked with the lock held: a server or a person may have decided since the run asked.
    if provenance.action == "pushed" and (withdrawal := read_withdrawn(serving).get(digest)):
        shutil.rmtree(coming)
        raise UserError(f"{serving}: this model was {withdrawal}; nothing was pushed; run again, and it waits for approval")
    update = {"version": version, "model_version": provenance.model_version or version, "model_digest": digest}
    provenance = provenance.model_copy(update={**update, "pushed_at": now()})
    path = coming / PROVENANCE_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(provenance.model_dump_json(indent=1) + "\n")
    if private_key:
        sign(coming, private_key, coming / SIGNATURE_FILE)
    _sync_tree(coming)
    # Before the version appears, so that the promise holds even if that version is removed by hand at once.
    write_atomically(str(serving / HIGHEST_FILE), str(version).encode())
    coming.rename(folder / str(version))
    sync(folder)
    return provenance


def roll_back(serving: Path, version: int | None, by: str, login: str, note: str, public_key: Path | None = None) -> Provenance:
    """Puts an earlier version back into serving, as a new version that is a copy of it; removes none.

    The models that came after it are withdrawn: no run pushes them again by itself.

    Args:
        serving: the serving folder.
        version: which one; None for the model that was in serving before the present one.
        by: who does it, `login` from where, `note` why.
        login: user and machine.
        note: the reason, may be empty.
        public_key: with which the version must have been signed; None where any will do.

    Raises:
        UserError: no such version, none before the present one, its files are not those that were pushed, or its signature is
            not by that key.
    """
    if public_key:
        check_public_key(public_key)
    if not versions(serving):
        raise UserError(f"{serving}: no version is in serving; push a model first")
    try:
        # Of the whole, so that nobody pushes a model, or removes the version, between the choice and its end.
        with locked(serving):
            return put_back(serving, version, Provenance(by=by, login=login, note=note), public_key)
    except OSError as error:
        raise UserError(f"{error.filename or serving}: {error.strerror}; nothing was rolled back in {serving}") from None


def put_back(serving: Path, version: int | None, who: Provenance, public_key: Path | None) -> Provenance:
    """The work of `roll_back`, of whoever holds the lock; `who` has its `by`, `login` and `note`."""
    there = versions(serving)
    listed = ", ".join(map(str, there))
    newest = there[-1]
    if version is None:
        # The present version may itself be a rollback: then the one before the model that it brought back.
        present = read_provenance(serving, newest)
        before = [number for number in there if number < (present.model_version if present else newest)]
        if not before:
            raise UserError(f"{serving}: no version before the model now in serving; there are {listed}")
        version = before[-1]
    if version not in there:
        raise UserError(f"{serving}: no version {version}; there are {listed}")
    if version == newest:
        earlier = ", ".join(map(str, there[:-1])) or "none"
        raise UserError(f"{serving}: version {version} is in serving now; earlier ones are {earlier}")
    old = read_provenance(serving, version)
    if old is not None and old.model_digest != model_digest(serving / str(version)):
        raise UserError(
            f"{serving / str(version)}: its files were changed after they were pushed; give another version of {listed}"
        )
    if public_key:
        try:
            verify(serving / str(version), public_key)
        except UserError as error:
            raise UserError(f"{serving / str(version)}: {error}; give another version of {listed}") from None
    # First, so that whoever kills this process leaves no model that comes back.
    add_withdrawals(serving, _models_after(serving, version), "rolled back", who.by, who.login, who.note)
    # A version that something else put there has no provenance.
    known = old or Provenance(by=who.by, login=who.login, model_version=version)
    update = {"action": "rolled back", "by": who.by, "login": who.login, "note": who.note, "rolled_back_to": version}
    return _put(serving / str(version), serving, known.model_copy(update=update), keep=None)


def _models_after(serving: Path, version: int) -> dict[str, str]:
    """Digests of the models that came into serving after that of a version, with the runs that made them."""
    models: dict[str, str] = {}
    for number in (number for number in versions(serving) if number >= version):
        known = read_provenance(serving, number)
        models[known.model_digest if known else model_digest(serving / str(number))] = known.run_id if known else ""
    return dict(list(models.items())[1:])


def withdraw(
    serving: Path, models: Mapping[str, str], action: Literal["rolled back", "rejected"], by: str, login: str, note: str
) -> None:
    """Remembers that a person took models out of serving or kept them out; a candidate that is one of them goes.

    Args:
        serving: the serving folder; made where it is missing.
        models: their digests, with the runs that made them.
        action: what was decided, `by` whom, `note` why.
        by: who.
        login: user and machine.
        note: the reason, may be empty.

    Raises:
        UserError: the serving folder cannot be written.
    """
    try:
        with locked(serving):
            add_withdrawals(serving, models, action, by, login, note)
            end_trial(serving, f"{action} by {by}{f': {note}' if note else ''}", models)
    except OSError as error:
        raise UserError(f"{error.filename or serving}: {error.strerror}; nothing was decided") from None


def add_withdrawals(
    serving: Path, models: Mapping[str, str], action: Literal["rolled back", "rejected"], by: str, login: str, note: str
) -> None:
    """The work of `withdraw`, of whoever holds the lock."""
    known = {"action": action, "by": by, "login": login, "note": note, "when": now()}
    items = ({**known, "model_digest": digest, "run_id": run} for digest, run in models.items())
    add_withdrawn(serving, map(Withdrawal.model_validate, items))


def versions_by_run(serving: Path) -> dict[str, str]:
    """The version that each run pushed itself, without a person's approval, of those that are there."""
    found = {}
    for version in versions(serving):
        provenance = read_provenance(serving, version)
        if provenance and provenance.action in ("pushed", "promoted"):
            found[provenance.run_id] = str(version)
    return found


def now() -> str:
    """The time as provenance has it: ISO 8601, UTC, milliseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


@contextmanager
def locked(serving: Path) -> Iterator[None]:
    """Makes this process the only one that changes a serving folder, made where missing, and removes what killed ones left."""
    serving.mkdir(parents=True, exist_ok=True)
    with lock(serving / LOCK_FILE, wait=True):
        _remove_remains(serving)
        yield


def _next_version(serving: Path) -> int:
    taken = versions(serving)
    with suppress(OSError, ValueError):  # not there before the first push
        taken.append(int((serving / HIGHEST_FILE).read_text()))
    return max([int(time.time()), *(number + 1 for number in taken)])


def _remove_remains(serving: Path) -> None:
    inside = [folder for name in (PENDING_FOLDER, CANDIDATE_FOLDER) if (folder := serving / name).is_dir()]
    for path in (path for folder in (serving, *inside) for path in folder.iterdir()):
        if path.name.startswith((COMING, GOING, *(f"{name}." for name in OWN_FILES))):
            remove(str(path))


def remove_old(serving: Path, keep: int) -> None:
    """Removes versions, of whoever holds the lock; `keep` are kept beside the newest."""
    for version in versions(serving)[: -keep - 1]:
        going = serving / f"{GOING}{version}"
        (serving / str(version)).rename(going)
        shutil.rmtree(going)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Puts a file, or the names in a folder, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
