# SPDX-License-Identifier: Apache-2.0
"""A small pipeline run once for real, and each of its steps to be run again: what went in, what came out, and the code."""

import copy
import hashlib
import importlib
import multiprocessing
import os
import re
import resource
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from component_contract import MODULES
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from small_demo import TINY
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.orchestration.pipeline import Pipeline
from tfx.types import Artifact, artifact_utils

from components.decision.component import Decision
from components.serving_baseline.component import ServingBaseline
from pipeline.config import PipelineConfig, load_config
from pipeline.dag import RunContext, create_pipeline
from pipeline.local_runner import run_pipeline
from pipeline.workdir import WorkDir

BEAM = ["--direct_running_mode=in_memory"]
WRITES = {
    "components.clip_generator.component": "dataset_uri",
    "components.decision.component": "serving_uri",
    "components.pusher.component": "serving_uri",
}
"""The property of a component that names a folder which it changes, beside its outputs. The others change nothing else."""
CONFIG = f"""\
{TINY}train: {{epochs: 1, batch_size: 8, crop_s: 0.5}}
gate:
  overall: {{min_accuracy: 0, min_auc: 0, min_recall: 0, max_ece: 1}}
  slices: {{min_accuracy: 0, min_auc: 0, min_recall: 0, max_ece: 1}}
  bootstrap_samples: 100
  robustness: {{telephone: {{min_accuracy: 0}}}}
robustness: {{num_clips: 3}}
"""
Artifacts = dict[str, list[Artifact]]


@dataclass(frozen=True)
class Step:
    """One execution of a component, as a runner hands it to the executor, whose dotted path `executor` is."""

    module: str
    executor: str
    inputs: Artifacts
    outputs: Artifacts
    properties: dict[str, Any]
    writes: str | None = None
    """The property that names a folder which it changes, beside its outputs."""
    run_id: str = ""

    def again(self, folder: Path, **properties: Any) -> Self:
        """The same step with empty outputs in `folder`; `properties` go before those it had."""
        outputs = {name: [_empty(artifact, folder / name)] for name, (artifact,) in self.outputs.items()}
        return replace(self, inputs=copy.deepcopy(self.inputs), outputs=outputs, properties={**self.properties, **properties})

    def run(self) -> None:
        """Runs the executor in this process."""
        module, _, name = self.executor.rpartition(".")
        executor = getattr(importlib.import_module(module), name)
        beam = {"beam_pipeline_args": list(BEAM)} if issubclass(executor, BaseBeamExecutor) else {}
        executor(executor.Context(pipeline_run_id=self.run_id, **beam)).Do(self.inputs, self.outputs, self.properties)

    def run_and_die(self, max_file_bytes: int) -> int:
        """Runs the executor in a process that the kernel ends when it writes that far into a file; its exit status."""
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload([__name__, "components.trainer.run_fn", *MODULES])
        process = forks.Process(target=_die, args=(self, max_file_bytes))
        process.start()
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    def files(self) -> dict[str, Path]:
        """The files of all outputs by name, and those of the folder that it changes."""
        roots = {name: Path(artifact.uri) for name, (artifact,) in self.outputs.items()}
        if self.writes:
            roots[self.writes] = Path(self.properties[self.writes])
        return {str(Path(name) / path.relative_to(root)): path for name, root in roots.items() for path in _files(root)}

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each of these files, without the times that a page says in an element of that name."""
        contents = {name: re.sub(rb"<time>[^<]*</time>", b"", path.read_bytes()) for name, path in self.files().items()}
        return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}

    def said(self) -> dict[str, dict[str, Any]]:
        """The properties of each output that are not those of its type, nor TFX's own: what the executor set."""
        return {
            name: {key: _value(value) for key, value in artifact.mlmd_artifact.custom_properties.items() if key[:2] != "__"}
            for name, (artifact,) in self.outputs.items()
        }


def _die(step: Step, max_file_bytes: int) -> None:
    # Python ignores the signal that comes at this limit; its default ends the process as SIGKILL does, without any handler or
    # `finally`. Unlike a SIGKILL from outside it always comes in the middle of a write, also where TensorFlow writes.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    step.run()


def _empty(artifact: Artifact, uri: Path) -> Artifact:
    empty = type(artifact)()
    empty.uri = str(uri)
    return empty


def _files(uri: Path) -> Iterator[Path]:
    if uri.is_file():
        yield uri
    yield from (path for path in sorted(uri.rglob("*")) if path.is_file())


def _value(value: metadata_store_pb2.Value) -> Any:
    return getattr(value, value.WhichOneof("value"))


@dataclass(frozen=True)
class Rehearsal:
    """Every step of this project's components by the component's module, and what ran when the pipeline was run once more."""

    steps: dict[str, Step]
    ran_again: list[str]


def rehearse(folder: Path, corpus: Path) -> Rehearsal:
    """Runs the whole pipeline, runs it again with `push.mode=review`, and approves what then waits.

    ServingBaseline is run once more, with the model that is in serving by then.
    """
    (folder / "config.yaml").write_text(CONFIG)
    workdir = WorkDir.at(folder)
    config, review = (load_config(folder / "config.yaml", [f"push.mode={mode}"]) for mode in ("auto", "review"))
    steps = _run(_pipeline(config, workdir, corpus), "1", workdir)[0]
    _, ran_again = _run(_pipeline(review, workdir, corpus), "2", workdir)
    serving = str(shutil.copytree(workdir.serving, folder / "decided"))
    version = max(path.name for path in workdir.serving.glob("1*"))
    baseline = ServingBaseline(serving_uri=serving, version=version, classes=config.clips.classes)
    decision = Decision(
        serving_uri=serving, config=config.push, action="approve", run_id="2", version=0, by="Ada", note="rehearsed", override=1
    )
    alone = Pipeline("alone", str(workdir.tfx), components=[baseline, decision], metadata_connection_config=workdir.connection())
    return Rehearsal(steps | _run(alone, "3", workdir)[0], ran_again)


def _pipeline(config: PipelineConfig, workdir: WorkDir, corpus: Path) -> Pipeline:
    at = RunContext(
        dataset_uri=str(workdir.root / "clips"),
        dataset_fingerprint="",
        pipeline_root=str(workdir.tfx),
        serving_uri=str(workdir.serving),
        baseline_version="",
        corpus_uri=str(corpus),
        keep_pending=True,
    )
    return create_pipeline(config, at, workdir.connection())


def _run(pipeline: Pipeline, run_id: str, workdir: WorkDir) -> tuple[dict[str, Step], list[str]]:
    ran: list[str] = []

    def after(node: str, seconds: float, cached: bool) -> None:
        if not cached:
            ran.append(node)

    run_pipeline(pipeline, run_id, before=lambda node: None, after=after)
    store = MetadataStore(workdir.connection())
    ours = {node.id: node for node in pipeline.components if type(node).__module__ in MODULES}
    return {type(node).__module__: replace(_step(store, node), run_id=run_id) for node in ours.values()}, ran


def _step(store: MetadataStore, node: BaseComponent) -> Step:
    """The newest execution of a node, out of the metadata store."""
    execution = max(store.get_executions_by_type(node.type), key=lambda execution: execution.id)
    artifacts: dict[int, Artifacts] = {metadata_store_pb2.Event.INPUT: {}, metadata_store_pb2.Event.OUTPUT: {}}
    for event in store.get_events_by_execution_ids([execution.id]):
        (artifact,) = store.get_artifacts_by_id([event.artifact_id])
        (kind,) = store.get_artifact_types_by_id([artifact.type_id])
        named = artifacts[event.type].setdefault(event.path.steps[0].key, [])
        named.append(artifact_utils.deserialize_artifact(kind, artifact))
    stored = execution.custom_properties
    properties = {
        name: getattr(stored[name], stored[name].WhichOneof("value")) for name in node.exec_properties if name in stored
    }
    executor = type(node).EXECUTOR_SPEC.executor_class
    inputs, outputs = (artifacts[kind] for kind in (metadata_store_pb2.Event.INPUT, metadata_store_pb2.Event.OUTPUT))
    module = type(node).__module__
    path = f"{executor.__module__}.{executor.__qualname__}"
    return Step(module, path, inputs, outputs, properties, WRITES.get(module))
