# SPDX-License-Identifier: Apache-2.0
"""A candidate's way: placed beside the versions in serving, then promoted to be the newest of them, or withdrawn."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from beam_jobs.console import say
from beam_jobs.errors import UserError
from beam_jobs.files import write_atomically
from components.model_digest import PROVENANCE_FILE, model_digest
from components.pusher.config import PushConfig, RollbackConfig
from components.pusher.provenance import Provenance, read_provenance
from components.pusher.serving_folder import add_withdrawals, bring, locked, now, put_back, remove_old, sync, versions
from components.pusher.trials import (
    CANDIDATE_FOLDER,
    SERVER,
    Decision,
    Outcome,
    candidate,
    end_trial,
    read_decisions,
    remember_if_possible,
    remove_candidate,
)
from components.pusher.withdrawn import Withdrawal, read_withdrawn
from components.signing import public_key_of, verify


def place(source: Path, serving: Path, provenance: Provenance, private_key: Path | None = None) -> Provenance:
    """Puts a SavedModel beside the versions in serving, for a server to try, in place of an earlier candidate.

    If that is the very model, with the same settings and signed with the same key, it stays: its trial goes on.

    Args:
        source: the SavedModel's folder.
        serving: the serving folder, which has a version.
        provenance: as of `push`.
        private_key: as of `push`.

    Returns:
        The provenance as it was stored with the candidate; its version is the one under which it may come into serving.

    Raises:
        UserError: the model is gone or was changed, the key cannot be used, or the serving folder cannot be written.
    """
    if not (source / "saved_model.pb").is_file():
        raise UserError(f"{source}: has no SavedModel, so there is nothing to push; make a new run")
    folder = serving / CANDIDATE_FOLDER
    try:
        with locked(serving):
            if present := _on_trial_already(serving, provenance, private_key):
                return present
            folder.mkdir(exist_ok=True)
            end_trial(serving, "a newer candidate came")
            return bring(source, serving, folder, provenance, private_key)
    except OSError as error:
        raise UserError(f"{error.filename or serving}: {error.strerror}; nothing was pushed to {serving}") from None


def _on_trial_already(serving: Path, asked: Provenance, private_key: Path | None) -> Provenance | None:
    """What was stored with the candidate, if another one would be no different: begun anew by each run, no trial would end."""
    number = candidate(serving)
    folder, known = _of(serving, number or 0)
    if known is None or (known.model_digest, push_config(known)) != (asked.model_digest, push_config(asked)):
        return None
    if model_digest(folder) != known.model_digest:  # damaged since: the whole one takes its place
        return None
    if private_key:
        with public_key_of(private_key) as public_key:
            try:
                verify(folder, public_key)
            except UserError:
                return None
    return known


def promote(
    serving: Path, decision: Decision, by: str = SERVER, action: Literal["promoted", "approved"] = "promoted"
) -> Provenance | None:
    """Makes the candidate the newest version in serving; None where it is a candidate no more.

    Args:
        serving: the serving folder.
        decision: why.
        by: who decided.
        action: for the provenance.

    Returns:
        The provenance as it was stored with the version.

    Raises:
        OSError: the serving folder cannot be written.
        UserError: its list of withdrawn models is damaged.
    """
    with locked(serving):
        folder, known = _of(serving, decision.version)
        if known is None or (by == SERVER and _finish_withdrawal(serving)):
            return None
        update = {"action": action, "by": by, "login": decision.login, "note": decision.why, "pushed_at": now()}
        stored = known.model_copy(update=update)
        write_atomically(str(folder / PROVENANCE_FILE), (stored.model_dump_json(indent=1) + "\n").encode())
        folder.rename(serving / str(decision.version))
        sync(serving)
        remember_if_possible(serving, decision)
        remove_old(serving, push_config(known).keep)
    return stored


def withdraw_candidate(serving: Path, decision: Decision, its_model: bool = True) -> Provenance | None:
    """Takes the candidate away, where it still is one, and remembers its model, so that no run pushes it again by itself.

    Args:
        serving: the serving folder.
        decision: why.
        its_model: whether that is the model's fault; a copy that was damaged is none, and a run may push the model again.

    Returns:
        The candidate's provenance with the decision; None where it was a candidate no more.

    Raises:
        OSError: the serving folder cannot be written.
        UserError: its list of withdrawn models is damaged.
    """
    with locked(serving):
        known = _of(serving, decision.version)[1]
        if known is None:
            return None
        if its_model:
            add_withdrawals(serving, {known.model_digest: known.run_id}, "rolled back", SERVER, decision.login, decision.why)
        remember_if_possible(serving, decision)
        remove_candidate(serving, decision.version)
    return known.model_copy(update={"action": "rolled back", "by": SERVER, "login": decision.login, "note": decision.why})


def finish_interrupted(serving: Path, public_key: Path | None = None) -> tuple[Provenance | None, Provenance | None]:
    """Does what a server or a person had decided about a model, where they were killed before it was done.

    A candidate whose model was withdrawn goes. A version that a server took out of serving, and that is still the newest, is put
    behind the one before.

    Returns:
        The provenance of the candidate, with the decision, and that of the version that was put back; None where there is none.

    Raises:
        OSError: the serving folder cannot be written.
        UserError: its list of withdrawn models is damaged, or no version before can be put back.
    """
    if not (_withdrawn_candidate(serving) or _withdrawn_version(serving)):  # whoever serves waits for no lock without need
        return None, None
    with locked(serving):
        withdrawn, stored = _finish_withdrawal(serving), None
        if found := _withdrawn_version(serving):
            version, item = found
            stored = put_back(serving, None, Provenance(by=SERVER, login=item.login, note=item.note), public_key)
            decision = Decision.now(version, "rolled back", item.note, stored.rolled_back_to or 0, login=item.login)
            remember_if_possible(serving, decision)
    return withdrawn, stored


def _withdrawn_version(serving: Path) -> tuple[int, Withdrawal] | None:
    """The newest version, where a server took it out of serving and nothing came since."""
    for version in versions(serving)[-1:]:
        known = read_provenance(serving, version)
        item = read_withdrawn(serving).get(known.model_digest) if known and known.action != "rolled back" else None
        if known and item and item.by == SERVER and item.when >= known.pushed_at:
            return version, item
    return None


def _withdrawn_candidate(serving: Path) -> tuple[Provenance, Withdrawal] | None:
    number = candidate(serving)
    known = _of(serving, number)[1] if number else None
    item = read_withdrawn(serving).get(known.model_digest) if known else None
    return (known, item) if known and item else None


def _finish_withdrawal(serving: Path) -> Provenance | None:
    """Removes a candidate whose model was withdrawn, of whoever holds the lock. Its provenance with the decision."""
    found = _withdrawn_candidate(serving)
    if found is None:
        return None
    known, item = found
    number = known.version
    if not any(decision.version == number for decision in read_decisions(serving)):
        outcome: Outcome = "rolled back" if item.by == SERVER else "superseded"
        remember_if_possible(serving, Decision.now(number, outcome, item.note or str(item), login=item.login))
    remove_candidate(serving, number)
    return known.model_copy(update={"action": "rolled back", "by": item.by, "login": item.login, "note": item.note})


def push_config(provenance: Provenance) -> PushConfig:
    """Section `push` of the configuration that a version was made with.

    Where another release of this program wrote it, the settings that this one knows hold, and it says which do not. `keep: 0`
    beside `rollback`, which earlier releases took, is 1: what is taken out of serving needs one before it.
    """
    stored = provenance.config.get("push", {})
    with suppress(ValidationError):
        return PushConfig.model_validate(stored)
    stored = stored if isinstance(stored, Mapping) else {}
    kept = {name: value for name, value in stored.items() if _valid({"rollback": None, name: value})}
    if unknown := sorted(stored.keys() - kept.keys()):
        names = ", ".join(f"push.{name}" for name in unknown)
        say(f"version {provenance.version} was made by another release of this program: {names} cannot be used, defaults apply")
    if kept.get("keep") == 0 and kept.get("rollback", RollbackConfig()) is not None:
        kept["keep"] = 1
    return PushConfig.model_validate(kept)


def _valid(settings: Mapping[str, Any]) -> bool:
    with suppress(ValidationError):
        PushConfig.model_validate(settings)
        return True
    return False


def _of(serving: Path, version: int) -> tuple[Path, Provenance | None]:
    return serving / CANDIDATE_FOLDER / str(version), read_provenance(serving / CANDIDATE_FOLDER, version)
