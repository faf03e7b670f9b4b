"""Reading MLMD: which runs there were, and what came out of them."""

from dataclasses import dataclass

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2

from beam_jobs.errors import UserError
from pipeline.workdir import WorkDir

RUN_CONTEXT = "pipeline_run"
FAILED = metadata_store_pb2.Execution.FAILED


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run as MLMD has it. `verdict`: pushed, refused, or stopped (a node failed, or the run was interrupted)."""

    run_id: str
    started_ms: int
    verdict: str
    note: str
    pushed_version: str | None


def _open(workdir: WorkDir) -> MetadataStore:
    if not workdir.metadata.exists():
        raise UserError(f"{workdir.root}: no run was made here; make one with `audio-gender run --workdir {workdir.root}`")
    return MetadataStore(workdir.connection())


def artifact_of_run(workdir: WorkDir, run_id: str, type_name: str) -> metadata_store_pb2.Artifact:
    """The one artifact of a type that a run made or took from the cache."""
    store = _open(workdir)
    context = store.get_context_by_type_and_name(RUN_CONTEXT, run_id)
    if context is None:
        raise UserError(f"{workdir.root}: no run {run_id}; list the runs with `audio-gender runs --workdir {workdir.root}`")
    (artifact,) = _artifacts(store, context.id, type_name)
    return artifact


def _artifacts(store: MetadataStore, context_id: int, type_name: str) -> list[metadata_store_pb2.Artifact]:
    type_id = store.get_artifact_type(type_name).id
    return [artifact for artifact in store.get_artifacts_by_context(context_id) if artifact.type_id == type_id]


def list_runs(workdir: WorkDir) -> list[RunSummary]:
    """All runs, oldest first.

    Raises:
        UserError: no run was made here.
    """
    store = _open(workdir)
    summaries = []
    for context in sorted(store.get_contexts_by_type(RUN_CONTEXT), key=lambda context: context.create_time_since_epoch):
        executions = store.get_executions_by_context(context.id)
        failed = [execution for execution in executions if execution.last_known_state == FAILED]
        types = {artifact_type.id: artifact_type.name for artifact_type in store.get_artifact_types()}
        pushed = [a for a in store.get_artifacts_by_context(context.id) if types[a.type_id] == "PushedModel"]
        version = pushed[0].custom_properties["pushed_version"].string_value if pushed else ""
        if failed:
            verdict, note = "stopped", f"{store.get_execution_types_by_id([failed[0].type_id])[0].name.rsplit('.', 1)[-1]} failed"
        elif not pushed:
            verdict, note = "stopped", "interrupted"
        else:
            verdict, note = ("pushed", "") if version else ("refused", "")
        summaries.append(RunSummary(context.name, context.create_time_since_epoch, verdict, note, version or None))
    return summaries
