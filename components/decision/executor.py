"""The work of Decision: push, drop or copy back, in the serving folder."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils

from beam_jobs.console import say
from beam_jobs.errors import UserError
from components.pusher.executor import record
from components.pusher.pending import drop_pending, pending_candidate
from components.pusher.provenance import Provenance, login
from components.pusher.serving_folder import push, read_provenance, roll_back, versions, withdraw
from components.run_id import run_id as id_of_this_run
from components.signing import public_key_of


class Executor(base_executor.BaseExecutor):
    """Executor of Decision."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Does what was decided.

        Raises:
            UserError: who decides, or why, is not said; no such model waits; no such version; another model came into serving.
        """
        serving, run_id = Path(exec_properties["serving_uri"]), exec_properties["run_id"]
        key = Path(exec_properties["private_key"]) if exec_properties["private_key"] else None
        by, note = exec_properties["by"].strip(), exec_properties["note"].strip()
        if not by:
            raise UserError("by is empty: say who decides")
        who = {"by": by, "note": note, "login": f"run {id_of_this_run(self._context)} by {login()}"}
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        fileio.makedirs(pushed.uri)
        match exec_properties["action"]:
            case "approve":
                stored = _approve(serving, run_id, who, bool(exec_properties["override"]), exec_properties["keep"], key)
            case "rollback":
                with public_key_of(key) if key else nullcontext() as public_key:
                    stored = roll_back(serving, exec_properties["version"] or None, who["by"], who["login"], note, public_key)
            case "reject":
                _reject(serving, run_id, who)
                pushed.set_int_custom_property("pushed", 0)
                return
            case other:
                raise UserError(f"action is {other!r}: give approve, reject or rollback")
        record(pushed, str(serving), stored)
        say(f"version {stored.version} is in serving, {stored.action} by {by}")


def _approve(serving: Path, run_id: str, who: dict[str, str], override: bool, keep: int, private_key: Path | None) -> Provenance:
    model, candidate = pending_candidate(serving, run_id)
    if override and not who["note"]:
        raise UserError("note is empty: an override needs a reason")
    there = versions(serving)
    done = read_provenance(serving, there[-1]) if there else None
    if done is None or (done.run_id, done.action) != (run_id, "approved"):
        newest = str(there[-1]) if there else ""
        if newest != candidate.compared_with and not override:
            raise UserError(
                f"run {run_id} was compared with version {candidate.compared_with or 'none'}, and version {newest or 'none'} is "
                "in serving now; make a new run, or give override=1 with a note"
            )
        update = {**who, "action": "approved", "override": override}
        done = push(model, serving, candidate.provenance.model_copy(update=update), keep, private_key)
    # Else an approval was cut off here.
    drop_pending(serving, run_id)
    return done


def _reject(serving: Path, run_id: str, who: dict[str, str]) -> None:
    _, candidate = pending_candidate(serving, run_id)
    if not who["note"]:
        raise UserError("note is empty: say why the model is rejected")
    withdraw(serving, {candidate.provenance.model_digest: run_id}, "rejected", **who)
    drop_pending(serving, run_id)
    say(f"run {run_id} is rejected by {who['by']}: {who['note']}")
