# SPDX-License-Identifier: Apache-2.0
"""What is decided about a model that waits in the serving folder. A decision that was cut off is completed by giving it again."""

from pathlib import Path

from beam_jobs.errors import UserError
from components.pusher.candidate import promote
from components.pusher.pending import drop_pending, pending_candidate, pending_runs
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push, read_provenance, versions, withdraw
from components.pusher.trials import CANDIDATE_FOLDER, Decision
from components.pusher.trials import candidate as candidate_version
from components.pusher.withdrawn import read_withdrawn


def approve(serving: Path, run_id: str, who: dict[str, str], override: bool, keep: int, private_key: Path | None) -> Provenance:
    """Pushes the model of a run that waits, or makes a candidate the version in serving.

    Args:
        serving: the serving folder.
        run_id: the run.
        who: `by`, `login` and `note` of the decision.
        override: although another model came into serving since it was compared.
        keep: old versions kept beside it.
        private_key: signs it; may be None.

    Returns:
        Its provenance.

    Raises:
        UserError: no such model waits, another model came into serving, or it cannot be pushed.
    """
    if override and not who["note"]:
        raise UserError("note is empty: an override needs a reason")
    done = _approved_before(serving, run_id) or _approve_candidate(serving, run_id, who)
    if done is None:
        model, candidate = pending_candidate(serving, run_id)
        there = versions(serving)
        newest = str(there[-1]) if there else ""
        if newest != candidate.compared_with and not override:
            raise UserError(
                f"run {run_id} was compared with version {candidate.compared_with or 'none'}, and version {newest or 'none'} is "
                "in serving now; make a new run, or give override=1 with a note"
            )
        update = {**who, "action": "approved", "override": override}
        done = push(model, serving, candidate.provenance.model_copy(update=update), keep, private_key)
    drop_pending(serving, run_id)
    return done


def reject(serving: Path, run_id: str, who: dict[str, str]) -> None:
    """Remembers that the model of a run that waits, or is a candidate, is not to be pushed, and removes it.

    Args:
        serving: the serving folder.
        run_id: the run.
        who: `by`, `login` and `note` of the decision.

    Raises:
        UserError: why is not said, no such model waits, or the folder cannot be written.
    """
    if not who["note"]:
        raise UserError("note is empty: say why the model is rejected")
    if run_id not in pending_runs(serving) and _rejected_before(serving, run_id):
        return
    if known := _candidate_of(serving, run_id):
        withdraw(serving, {known.model_digest: run_id}, "rejected", **who)
        return
    _, candidate = pending_candidate(serving, run_id)
    withdraw(serving, {candidate.provenance.model_digest: run_id}, "rejected", **who)
    drop_pending(serving, run_id)


def _candidate_of(serving: Path, run_id: str) -> Provenance | None:
    number = candidate_version(serving)
    known = read_provenance(serving / CANDIDATE_FOLDER, number) if number else None
    return known if known and run_id and known.run_id == run_id else None


def _approve_candidate(serving: Path, run_id: str, who: dict[str, str]) -> Provenance | None:
    known = _candidate_of(serving, run_id)
    if known is None:
        return None
    why = who["note"] or f"approved by {who['by']}"
    return promote(serving, Decision.now(known.version, "promoted", why, login=who["login"]), who["by"], "approved")


def _approved_before(serving: Path, run_id: str) -> Provenance | None:
    for version in reversed(versions(serving)):
        known = read_provenance(serving, version)
        if known and run_id and (known.run_id, known.action) == (run_id, "approved"):
            return known
    return None


def _rejected_before(serving: Path, run_id: str) -> bool:
    return any((known.run_id, known.action) == (run_id, "rejected") for known in read_withdrawn(serving).values())
