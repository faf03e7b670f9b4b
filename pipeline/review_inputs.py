# SPDX-License-Identifier: Apache-2.0
"""What the page about a run is made from: what the run left in its work folder."""

import dataclasses

from ml_metadata.errors import NotFoundError

from beam_jobs.clip_store import ClipsReference, read_reference
from beam_jobs.dataset import fingerprint
from beam_jobs.errors import UserError
from components.model_digest import MODEL_DIGEST
from components.review_report.facts import minute, of_run
from components.review_report.inputs import ReportInputs
from components.review_report.read import read_inputs
from pipeline.lineage import artifact_of_run, candidate_of_run
from pipeline.outcome import read_outcomes
from pipeline.result import RunResult, read_run_config, run_of_version
from pipeline.standing import standing_of
from pipeline.workdir import WorkDir

CLIPS_TYPE = "audio_gender.Clips"
"""`components.clip_example_gen.artifact.Clips`, without the seconds that TFX takes to be imported."""
OF_TFX = frozenset(
    {
        "is_external",
        "name",
        "producer_component",
        "pushed",
        "pushed_destination",
        "pushed_version",
        "state",
        "tfx_version",
        "trial_version",
        "waiting",
        "waiting_for",
    }
)
"""Properties of a PushedModel that say nothing of who pushed it and why."""


def inputs_of(workdir: WorkDir, results: dict[str, RunResult], result: RunResult) -> ReportInputs:
    """What the page about one run is made from: its artifacts, its result, and the metadata of its push.

    Raises:
        UserError: an older version made the run, or its files are gone.
    """
    run_id = result.run_id
    baseline_run = run_of_version(results.values(), result.baseline_version)
    facts = {
        "came to": f"{result.verdict}: {result.reason}",
        "corpus": result.folders["corpus"],
        "dataset": result.folders["dataset"],
    }
    if baseline_run is not None:
        facts["run of the serving model"] = baseline_run.run_id
    inputs = read_inputs(
        title=f"Run {run_id}",
        evaluation_uri=_folder(workdir, run_id, "ModelEvaluation"),
        blessing_uri=_folder(workdir, run_id, "ModelBlessing"),
        clips=_clips(workdir, run_id, result.folders["dataset"]),
        model_run_uri=_folder(workdir, run_id, "ModelRun"),
        dataset_uri=result.folders["dataset"],
        config=read_run_config(workdir, run_id),
        baseline_config=read_run_config(workdir, baseline_run.run_id) if baseline_run else None,
        facts=facts | _push_facts(workdir, run_id) | _decision_facts(result),
        serving_check_uri=_serving_check(workdir, run_id),
    )
    inputs = dataclasses.replace(
        inputs,
        corpus=result.folders["corpus"],
        standing=standing_of(workdir, result, servable=inputs.serving_check is None or inputs.serving_check.ok),
        durations=[(node.node, node.seconds, node.cached) for node in result.nodes],
        warning=_override(result, inputs.gate.blessed),
    )
    outcome = read_outcomes(workdir).get(run_id)
    alarm = outcome.alarm.text if outcome and outcome.alarm else ""
    # Older runs did not say when they began.
    begun = minute(outcome.started) if outcome else ""
    run_facts = of_run(inputs, run_id, begun, _candidate(workdir, result), result.code_revision, alarm)
    return dataclasses.replace(inputs, run_facts=run_facts)


def _clips(workdir: WorkDir, run_id: str, dataset: str) -> ClipsReference | None:
    """The clips of the run, wherever the work folder lies now; None where the dataset is gone or holds something else since."""
    reference = read_reference(_folder(workdir, run_id, CLIPS_TYPE)).model_copy(update={"dataset_uri": dataset})
    try:
        same = not reference.is_local or fingerprint(dataset) == reference.fingerprint
    except UserError:
        return None
    return reference if same else None


def _candidate(workdir: WorkDir, result: RunResult) -> str:
    """The version that the model has in serving, and its digest, which names it wherever it lies."""
    version = f"version {result.serving_version}" if result.verdict == "pushed" else "no version, it is not in serving"
    try:
        digest = candidate_of_run(workdir, result.run_id).custom_properties[MODEL_DIGEST].string_value
    except (ValueError, NotFoundError):
        digest = ""
    return f"{version}; digest {digest[:12]}" if digest else version


def _serving_check(workdir: WorkDir, run_id: str) -> str | None:
    try:
        return str(workdir.path(artifact_of_run(workdir, run_id, "InfraBlessing").uri))
    except (ValueError, NotFoundError):
        return None


def _override(result: RunResult, blessed: bool) -> str:
    """The sentence that a page must show for ever about a model that was pushed by an override."""
    decision = result.decision
    if decision is None or not decision.override:
        return ""
    how = "by an override" if blessed else "overriding the gate"
    return f"{decision.by} pushed this model {how} on {decision.when}: {decision.note}"


def _decision_facts(result: RunResult) -> dict[str, str]:
    decision = result.decision
    if decision is None:
        return {}
    note = f": {decision.note}" if decision.note else ""
    return {"decision": f"{decision.kind} by {decision.by} ({decision.login}) on {decision.when}{note}"}


def _folder(workdir: WorkDir, run_id: str, type_name: str) -> str:
    try:
        folder = workdir.path(artifact_of_run(workdir, run_id, type_name).uri)
    except (ValueError, NotFoundError):  # none of that type, or no such type in the whole store
        raise UserError(f"run {run_id} has no {type_name} to review; make a new run") from None
    if not folder.exists():
        raise UserError(f"run {run_id}: its {type_name} is gone ({folder}); make a new run")
    return str(folder)


def _push_facts(workdir: WorkDir, run_id: str) -> dict[str, str]:
    """Who pushed what, as the Pusher recorded it; nothing for a run that has not come to its push."""
    try:
        pushed = artifact_of_run(workdir, run_id, "PushedModel").custom_properties
    except (ValueError, NotFoundError):
        return {}
    values = {name: value.string_value or str(value.int_value or "") for name, value in sorted(pushed.items())}
    return {name.replace("_", " "): value for name, value in values.items() if value and name not in OF_TFX}
