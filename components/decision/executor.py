# SPDX-License-Identifier: Apache-2.0
"""The work of Decision: push, drop or copy back, in the serving folder."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils

from beam_jobs.errors import UserError
from components.decision.decide import approve, reject
from components.pusher.executor import record
from components.pusher.lineage_events import check_package
from components.pusher.provenance import login
from components.pusher.serving_folder import roll_back
from components.run_id import run_id as id_of_this_run
from components.signing import public_key_of
from components.verdict import log_verdict


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
        check_package(exec_properties["openlineage_url"])
        if not by:
            raise UserError("by is empty: say who decides")
        who = {"by": by, "note": note, "login": f"run {id_of_this_run(self._context)} by {login()}"}
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        fileio.makedirs(pushed.uri)
        match exec_properties["action"]:
            case "approve":
                stored = approve(serving, run_id, who, bool(exec_properties["override"]), exec_properties["keep"], key)
            case "rollback":
                with public_key_of(key) if key else nullcontext() as public_key:
                    stored = roll_back(serving, exec_properties["version"] or None, who["by"], who["login"], note, public_key)
            case "reject":
                reject(serving, run_id, who)
                log_verdict(f"run {run_id} is rejected by {by}: {note}")
                pushed.set_int_custom_property("pushed", 0)
                return
            case other:
                raise UserError(f"action is {other!r}: give approve, reject or rollback")
        record(pushed, str(serving), stored, exec_properties["openlineage_url"])
        log_verdict(f"version {stored.version} is in serving, {stored.action} by {by}")
