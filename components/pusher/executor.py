# SPDX-License-Identifier: Apache-2.0
"""The work of Pusher: may it be pushed, push it, say so in the metadata store."""

from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils

from beam_jobs.errors import UserError
from beam_jobs.files import absolute, join
from components.alarm import alarm_of
from components.clip_example_gen.artifact import DATASET_FINGERPRINT
from components.gate.result import RESULT_FILE, read_gate_result
from components.model_digest import MODEL_DIGEST
from components.pusher.candidate import place
from components.pusher.lineage_events import check_package, send
from components.pusher.pending import Candidate, keep_pending
from components.pusher.provenance import Approval, Provenance, code_revision, login
from components.pusher.remote_folder import push_remote, versions_remote
from components.pusher.serving_folder import push, read_provenance, versions
from components.pusher.withdrawn import read_withdrawn
from components.run_config import config_digest, used_config
from components.run_id import run_id
from components.signing import public_key_of, verify
from components.trained_model import trained_model
from components.verdict import WAITS, log_verdict

GATE = "gate"
"""Who decides where no person does."""


class Executor(base_executor.BaseExecutor):
    """Executor of Pusher."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Pushes the model where it may be pushed.

        Raises:
            UserError: it was changed since it was trained, was approved and may not be, or the serving folder cannot be written.
        """
        check_package(exec_properties["openlineage_url"])
        blessed, servable = (_is_blessed(input_dict[name]) for name in ("model_blessing", "infra_blessing"))
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        fileio.makedirs(pushed.uri)
        approval = Approval.model_validate_json(exec_properties["approval"]) if exec_properties["approval"] else None
        if approval and not (servable and (blessed or approval.override)):
            raise UserError(
                f"run {approval.run_id}: its model is {'not blessed' if servable else 'not servable'}; nothing was pushed"
            )
        serving = absolute(exec_properties["serving_uri"])
        canary = exec_properties["mode"] == "canary" and not approval
        if canary and "://" in serving:
            raise UserError(
                f"{serving}: push.mode canary needs a serving folder on a volume; an object store cannot rename a candidate"
            )
        model = trained_model(artifact_utils.get_single_instance(input_dict["model"]))
        digest = _property(input_dict["model"], MODEL_DIGEST)
        waiting_for = ""
        if blessed and servable and not approval:
            asked_for = "push.mode is review" if exec_properties["mode"] == "review" else _newcomer(serving, input_dict)
            waiting_for = ", and ".join(reason for reason in (_withdrawn(serving, digest), asked_for) if reason)
        pushed.set_int_custom_property("waiting", int(bool(waiting_for)))
        dataset = exec_properties["dataset_uri"]
        config = used_config(
            exec_properties["run_config"],
            epochs=exec_properties["epochs"],
            push_mode=exec_properties["mode"],
            # A run of this machine has the configuration of its clips, and an approval long after it perhaps no longer the clips.
            dataset_uri="" if exec_properties.get("corpus_uri") is None else dataset,
            corpus_uri=exec_properties.get("corpus_uri"),
        )
        known: dict[str, Any] = {
            "model_digest": digest,
            "dataset_uri": absolute(dataset) if dataset else "",
            "dataset_fingerprint": _property(input_dict["model"], DATASET_FINGERPRINT),
            "config_digest": config_digest(config),
            "config": config,
            "alarm": alarm_of(exec_properties.get("alarm")),
        }
        if approval:
            asked = Provenance(action="approved", blessed=blessed, **known, **approval.model_dump())
        else:
            run = run_id(self._context)
            asked = Provenance(by=GATE, login=login(), blessed=blessed, run_id=run, code_revision=code_revision(), **known)
        if waiting_for and exec_properties["keep_pending"]:
            compared = _property(input_dict.get("baseline_model"), "serving_version")
            keep_pending(model, Path(serving), Candidate(provenance=asked, compared_with=compared, waiting_for=waiting_for))
        if waiting_for or not servable or not (blessed or approval):
            pushed.set_int_custom_property("pushed", 0)
            pushed.set_string_custom_property("waiting_for", waiting_for)
            log_verdict(f"{WAITS}: {waiting_for}" if waiting_for else f"not pushed: {_refusal(input_dict, servable)}")
            return
        keep, key = exec_properties["keep"], exec_properties["private_key"]
        private_key = Path(key) if key else None
        if "://" in serving:
            stored = push_remote(model, serving, asked, keep, private_key)
        else:
            there = None if approval else _in_serving_already(digest, Path(serving), private_key)
            if canary and there is None and versions(Path(serving)):  # the first of all has nothing to be compared with
                stored = place(model, Path(serving), asked, private_key)
                pushed.set_int_custom_property("pushed", 0)
                pushed.set_string_custom_property("trial_version", str(stored.version))
                log_verdict(f"on trial, to be version {stored.version}: a server of {serving} decides")
                return
            stored = there or push(model, Path(serving), asked, keep, private_key)
        record(pushed, exec_properties["serving_uri"], stored, exec_properties["openlineage_url"])
        log_verdict(
            f"pushed as version {stored.version}"
            if stored.run_id == asked.run_id
            else f"already in serving, as version {stored.version}"
        )


def _refusal(input_dict: dict[str, list[Artifact]], servable: bool) -> str:
    """Why nothing is pushed: the gate's own reasons, where it wrote some."""
    blessing = artifact_utils.get_single_uri(input_dict["model_blessing"])
    reasons = read_gate_result(blessing).reasons if fileio.exists(join(blessing, RESULT_FILE)) else []
    return "; ".join(reasons or ["the gate refused the model" if servable else "the serving check refused the model"])


def _is_blessed(artifacts: list[Artifact]) -> bool:
    return bool(artifact_utils.get_single_instance(artifacts).get_int_custom_property("blessed") == 1)


def _withdrawn(serving: str, digest: str) -> str | None:
    """Which person took this very model out of serving or kept it out; None where none did."""
    # On an object store nobody decides (docs/serving.md).
    known = None if "://" in serving else read_withdrawn(Path(serving)).get(digest)
    return f"this model was {known}" if known else None


def _property(artifacts: list[Artifact] | None, name: str) -> str:
    return str(artifact_utils.get_single_instance(artifacts).get_string_custom_property(name)) if artifacts else ""


def _in_serving_already(digest: str, serving: Path, private_key: Path | None) -> Provenance | None:
    """What was stored with the newest version, where that is this very model, out of a cache, and signed where it has to be."""
    there = versions(serving)
    stored = read_provenance(serving, there[-1]) if there else None
    if stored is None or stored.model_digest != digest:
        return None
    if private_key:
        with public_key_of(private_key) as public_key:
            try:
                verify(serving / str(stored.version), public_key)
            except UserError:
                return None
    return stored


def _newcomer(serving: str, input_dict: dict[str, list[Artifact]]) -> str | None:
    """What came into serving since the candidate was compared, which may be better than it; None where nothing did."""
    compared = _property(input_dict.get("baseline_model"), "serving_version")
    found = [str(version) for version in (versions_remote(serving) if "://" in serving else versions(Path(serving)))]
    newest = found[-1] if found else ""
    if newest == compared:
        return None
    return f"{f'version {newest}' if newest else 'no model'} is in serving since, and it was compared with {compared or 'none'}"


def record(pushed: Artifact, serving: str, provenance: Provenance, openlineage_url: str) -> None:
    """Says on a PushedModel and beside it, and to an OpenLineage server where there is one, what was pushed and why."""
    pushed.set_int_custom_property("pushed", 1)
    # The names that TFX's own Pusher gives.
    pushed.set_string_custom_property("pushed_version", str(provenance.version))
    pushed.set_string_custom_property("pushed_destination", f"{serving}/{provenance.version}")
    elsewhere = {"version", "model_version", "rolled_back_to", "dataset_uri", "config", "alarm"}
    for name, value in provenance.model_dump(exclude=elsewhere).items():
        if isinstance(value, bool):
            pushed.set_int_custom_property(name, int(value))
        else:
            pushed.set_string_custom_property(name, value)
    if provenance.alarm:
        pushed.set_string_custom_property("alarm", provenance.alarm.text)
    with fileio.open(f"{pushed.uri}/provenance.json", "w") as file:
        file.write(provenance.model_dump_json(indent=1))
    if openlineage_url:
        send(openlineage_url, serving, provenance)
