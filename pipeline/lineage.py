# SPDX-License-Identifier: Apache-2.0
"""Reading MLMD: what came out of which run, and what was decided about it."""

from collections.abc import Mapping
from dataclasses import dataclass

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from beam_jobs.errors import UserError
from pipeline.result import APPROVAL_RUN, ReviewDecision
from pipeline.store import check_store, open_store
from pipeline.workdir import WorkDir

RUN_CONTEXT = "pipeline_run"
DECISION = "Decision"
PRUNED = "pruned"
"""Custom property of the context of a run that `audio-gender prune` removed."""
WHOLE = (metadata_store_pb2.Artifact.UNKNOWN, metadata_store_pb2.Artifact.LIVE)
"""States of an artifact that its node completed and nothing removed."""


def artifact_of_run(workdir: WorkDir, run_id: str, type_name: str) -> metadata_store_pb2.Artifact:
    """The one artifact of a type that a run made or took from the cache."""
    store = open_store(workdir)
    context = store.get_context_by_type_and_name(RUN_CONTEXT, run_id)
    if context is None:
        raise UserError(f"{workdir.root}: no run {run_id}; list the runs with `{workdir.command('runs')}`")
    (artifact,) = _artifacts(store, context.id, type_name)
    return artifact


def require_run(workdir: WorkDir, run_id: str) -> None:
    """Raises UserError where there is no such run."""
    recorded = (workdir.reports / run_id).is_dir() and APPROVAL_RUN not in run_id
    if not recorded and (APPROVAL_RUN in run_id or open_store(workdir).get_context_by_type_and_name(RUN_CONTEXT, run_id) is None):
        raise UserError(f"{workdir.root}: no run {run_id}; list the runs with `{workdir.command('runs')}`")


def candidate_of_run(workdir: WorkDir, run_id: str) -> metadata_store_pb2.Artifact:
    """The Model that a run trained or took from the cache; its other Model is the one in serving, with its version."""
    store = open_store(workdir)
    context = store.get_context_by_type_and_name(RUN_CONTEXT, run_id)
    models = _artifacts(store, context.id, "Model")
    (candidate,) = [model for model in models if "serving_version" not in model.custom_properties]
    return candidate


def record_decision(workdir: WorkDir, decision: ReviewDecision, state: str, execution_id: int | None = None) -> int:
    """Stores a decision as an execution of a type of its own, linked to the run and to the model that it is about.

    Args:
        workdir: the work folder.
        decision: what was decided.
        state: of MLMD's execution states RUNNING, COMPLETE or FAILED.
        execution_id: of a decision that was stored before; None for a new one.

    Returns:
        The execution's id.
    """
    store = check_store(workdir) or MetadataStore(workdir.connection())
    kind = metadata_store_pb2.ExecutionType(name=DECISION)
    values = decision.model_dump(exclude_none=True)
    for name, field in ReviewDecision.model_fields.items():
        kind.properties[name] = metadata_store_pb2.INT if field.annotation is bool else metadata_store_pb2.STRING
    execution = metadata_store_pb2.Execution(type_id=store.put_execution_type(kind, can_add_fields=True), id=execution_id)
    execution.last_known_state = metadata_store_pb2.Execution.State.Value(state)
    for name, value in values.items():
        if isinstance(value, bool):
            execution.properties[name].int_value = int(value)
        else:
            execution.properties[name].string_value = value
    linked, contexts = [], []
    context = store.get_context_by_type_and_name(RUN_CONTEXT, decision.run_id) if decision.run_id else None
    if context is not None and execution_id is None:
        linked = [(candidate_of_run(workdir, decision.run_id), metadata_store_pb2.Event(type=metadata_store_pb2.Event.INPUT))]
        contexts = [context]
    stored_id, _, _ = store.put_execution(execution, linked, contexts)
    return int(stored_id)


def list_decisions(workdir: WorkDir) -> list[ReviewDecision]:
    """The complete decisions, oldest first."""
    store = check_store(workdir)
    executions = store.get_executions_by_type(DECISION) if store else []
    complete = [execution for execution in executions if execution.last_known_state == metadata_store_pb2.Execution.COMPLETE]
    decisions = [
        ReviewDecision.model_validate(
            {
                name: bool(value.int_value) if value.WhichOneof("value") == "int_value" else value.string_value
                for name, value in execution.properties.items()
            }
        )
        for execution in complete
    ]
    return sorted(decisions, key=lambda decision: decision.when)


def _artifacts(store: MetadataStore, context_id: int, type_name: str) -> list[metadata_store_pb2.Artifact]:
    type_id = store.get_artifact_type(type_name).id
    return [item for item in store.get_artifacts_by_context(context_id) if item.type_id == type_id and item.state in WHOLE]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What MLMD has about one run: None in `pushed` where its Pusher did not come to its end."""

    run_id: str
    started_ms: int
    failed_node: str
    pushed: Mapping[str, metadata_store_pb2.Value] | None


def recorded_runs(workdir: WorkDir) -> dict[str, Recorded]:
    """All runs that came to the pipeline, by id; without the partial runs that push what was approved, and pruned runs."""
    store = check_store(workdir)
    if store is None:
        return {}
    types = {kind.id: kind.name for kind in store.get_execution_types()}
    pushed_type = {kind.id for kind in store.get_artifact_types() if kind.name == "PushedModel"}
    found = {}
    for context in store.get_contexts_by_type(RUN_CONTEXT):
        if APPROVAL_RUN in context.name or PRUNED in context.custom_properties:
            continue
        failed = [
            types[item.type_id].rsplit(".", 1)[-1]
            for item in store.get_executions_by_context(context.id)
            if item.last_known_state == metadata_store_pb2.Execution.FAILED and types[item.type_id] != DECISION
        ]
        artifacts = store.get_artifacts_by_context(context.id)
        pushed = [item.custom_properties for item in artifacts if item.type_id in pushed_type and item.state in WHOLE]
        found[context.name] = Recorded(
            context.name, context.create_time_since_epoch, failed[0] if failed else "", pushed[0] if pushed else None
        )
    return found
