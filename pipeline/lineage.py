"""Reading MLMD: which runs there were, and what came out of them."""

import dataclasses
import datetime
from dataclasses import dataclass

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from beam_jobs.errors import UserError
from pipeline.result import APPROVAL_RUN, Decision
from pipeline.workdir import WorkDir

RUN_CONTEXT = "pipeline_run"
DECISION = "Decision"
FAILED = metadata_store_pb2.Execution.FAILED


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run, or one rollback, as MLMD has it.

    `verdict`: pushed, refused, waiting (for approval), rejected, stopped (a node failed, or the run was interrupted), or
    rolled back. `decided_by` is `gate`, or the person; None where nobody has decided.
    """

    run_id: str
    started_ms: int
    verdict: str
    note: str
    pushed_version: str | None
    decided_by: str | None = None
    decision_note: str = ""
    override: bool = False


def _open(workdir: WorkDir) -> MetadataStore:
    if not workdir.metadata.exists():
        raise UserError(f"{workdir.root}: no run was made here; make one with `{workdir.command('run', '--config', 'demo')}`")
    return MetadataStore(workdir.connection())


def artifact_of_run(workdir: WorkDir, run_id: str, type_name: str) -> metadata_store_pb2.Artifact:
    """The one artifact of a type that a run made or took from the cache."""
    store = _open(workdir)
    context = store.get_context_by_type_and_name(RUN_CONTEXT, run_id)
    if context is None:
        raise UserError(f"{workdir.root}: no run {run_id}; list the runs with `{workdir.command('runs')}`")
    (artifact,) = _artifacts(store, context.id, type_name)
    return artifact


def require_run(workdir: WorkDir, run_id: str) -> None:
    """Raises UserError where there is no such run."""
    if APPROVAL_RUN in run_id or _open(workdir).get_context_by_type_and_name(RUN_CONTEXT, run_id) is None:
        raise UserError(f"{workdir.root}: no run {run_id}; list the runs with `{workdir.command('runs')}`")


def candidate_of_run(workdir: WorkDir, run_id: str) -> metadata_store_pb2.Artifact:
    """The Model that a run trained or took from the cache; its other Model is the one in serving, with its version."""
    store = _open(workdir)
    context = store.get_context_by_type_and_name(RUN_CONTEXT, run_id)
    models = _artifacts(store, context.id, "Model")
    (candidate,) = [model for model in models if "serving_version" not in model.custom_properties]
    return candidate


def record_decision(workdir: WorkDir, decision: Decision, state: str, execution_id: int | None = None) -> int:
    """Stores a decision as an execution of a type of its own, linked to the run and to the model that it is about.

    Args:
        workdir: the work folder.
        decision: what was decided.
        state: of MLMD's execution states RUNNING, COMPLETE or FAILED.
        execution_id: of a decision that was stored before; None for a new one.

    Returns:
        The execution's id.
    """
    store = MetadataStore(workdir.connection())
    kind = metadata_store_pb2.ExecutionType(name=DECISION)
    values = decision.model_dump(exclude_none=True)
    for name, field in Decision.model_fields.items():
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


def list_decisions(workdir: WorkDir) -> list[Decision]:
    """The complete decisions, oldest first."""
    executions = _open(workdir).get_executions_by_type(DECISION)
    complete = [execution for execution in executions if execution.last_known_state == metadata_store_pb2.Execution.COMPLETE]
    decisions = [
        Decision.model_validate(
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
    return [artifact for artifact in store.get_artifacts_by_context(context_id) if artifact.type_id == type_id]


def list_runs(workdir: WorkDir) -> list[RunSummary]:
    """All runs and rollbacks, oldest first.

    Raises:
        UserError: no run was made here.
    """
    store = _open(workdir)
    decisions = list_decisions(workdir)
    by_run = {decision.run_id: decision for decision in decisions if decision.kind != "rolled back"}
    summaries = [_rollback(decision) for decision in decisions if decision.kind == "rolled back"]
    for context in sorted(store.get_contexts_by_type(RUN_CONTEXT), key=lambda context: context.create_time_since_epoch):
        if APPROVAL_RUN in context.name:
            continue
        executions = store.get_executions_by_context(context.id)
        decision_type = {kind.id for kind in store.get_execution_types() if kind.name == DECISION}
        failed = [item for item in executions if item.last_known_state == FAILED and item.type_id not in decision_type]
        types = {artifact_type.id: artifact_type.name for artifact_type in store.get_artifact_types()}
        pushed = [a for a in store.get_artifacts_by_context(context.id) if types[a.type_id] == "PushedModel"]
        version = pushed[0].custom_properties["pushed_version"].string_value if pushed else ""
        decided_by: str | None = None
        if failed:
            verdict, note = "stopped", f"{store.get_execution_types_by_id([failed[0].type_id])[0].name.rsplit('.', 1)[-1]} failed"
        elif not pushed:
            verdict, note = "stopped", "interrupted"
        elif pushed[0].custom_properties["waiting"].int_value:
            verdict, note = "waiting", ""
        else:
            verdict, note, decided_by = ("pushed" if version else "refused"), "", "gate"
        summary = RunSummary(context.name, context.create_time_since_epoch, verdict, note, version or None, decided_by)
        summaries.append(_decided(summary, by_run.get(context.name)))
    return sorted(summaries, key=lambda summary: summary.started_ms)


def _decided(run: RunSummary, decision: Decision | None) -> RunSummary:
    if decision is None:
        return run
    return dataclasses.replace(
        run,
        verdict="pushed" if decision.kind == "approved" else decision.kind,
        pushed_version=decision.version,
        decided_by=decision.by,
        decision_note=decision.note,
        override=decision.override,
    )


def _rollback(decision: Decision) -> RunSummary:
    when_ms = round(datetime.datetime.fromisoformat(decision.when).timestamp() * 1000)
    note = f"to {decision.rolled_back_to}"
    return RunSummary(decision.run_id, when_ms, decision.kind, note, decision.version, decision.by, decision.note)
