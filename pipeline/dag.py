# SPDX-License-Identifier: Apache-2.0
"""The DAG, top to bottom as the data flows. Nothing here knows where it runs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ml_metadata.proto import metadata_store_pb2
from tensorflow_data_validation import StatsOptions
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.pipeline import Pipeline

from beam_jobs.examples import LABEL, METADATA, SEGMENT_LABELS
from components.clip_example_gen.component import ClipExampleGen
from components.clip_generator.component import ClipGenerator
from components.code_digest import Project, add_code_digests
from components.data_gate.component import DataGate
from components.evaluator.component import Evaluator
from components.example_validator.component import ClipExampleValidator
from components.gate.component import Gate
from components.import_schema_gen.component import ImportSchemaGen
from components.pusher.component import Pusher
from components.pusher.provenance import Approval
from components.review_report.component import ReviewReport
from components.robustness.component import Robustness
from components.serving_baseline.component import ServingBaseline
from components.serving_check.component import ServingCheck
from components.statistics_gen.component import StatisticsGen
from components.trainer.component import Trainer
from components.trainer.spec import TrainingSpec
from components.transform.transform import Transform
from components.tuner.search_space import TuningSpec
from components.tuner.tuner import Tuner
from pipeline.config import PipelineConfig

NAME = "audio-gender"
SCHEMA = Path(__file__).parent / "schema" / "schema.pbtxt"


@dataclass(frozen=True, slots=True)
class RunContext:
    """Where a run reads and writes.

    With a `corpus_uri`, even an empty one, the DAG begins with ClipGenerator, which makes the dataset in a folder below
    `dataset_uri` and says where it lies and its fingerprint; else `dataset_fingerprint` is it. `shared_folder` is one that
    training workers on other machines see too; None where they are processes of this one. With `keep_pending` a model that waits
    for a person is kept in the serving folder, for whoever decides where there is no work folder.

    `baseline_version` is that of ServingBaseline: empty where none is in serving. `baseline_config` is the configuration of the
    run that made it, None where it is not known. `serving_changes` is what people did to the serving folder since. `alarm` is
    why `watch` started the run, as JSON; empty where a person did.
    """

    dataset_uri: str | RuntimeParameter
    dataset_fingerprint: str
    pipeline_root: str
    serving_uri: str
    baseline_version: str
    baseline_config: dict[str, Any] | None = None
    serving_changes: str = ""
    corpus_uri: str | RuntimeParameter | None = None
    shared_folder: str | None = None
    keep_pending: bool = False
    alarm: str | RuntimeParameter = ""


@dataclass(frozen=True, slots=True)
class RuntimeParameters:
    """What may change from run to run: values, or TFX's runtime parameters where a pipeline is compiled before its runs."""

    num_clips: Mapping[str, int | RuntimeParameter]
    epochs: int | RuntimeParameter
    push_mode: str | RuntimeParameter

    @classmethod
    def of(cls, config: PipelineConfig) -> Self:
        """The values of a configuration."""
        return cls(config.clips.num_clips.model_dump(), config.train.epochs, config.push.mode)


def create_pipeline(
    config: PipelineConfig,
    context: RunContext,
    metadata_connection_config: metadata_store_pb2.ConnectionConfig | None = None,
    approval: Approval | None = None,
    runtime_parameters: RuntimeParameters | None = None,
) -> Pipeline:
    """The TFX pipeline: dataset folder in; pushed, waiting or refused model out.

    `approval` is given where a person approved the model of an earlier run, and only its Pusher is run.
    """
    clips = config.clips
    runtime_parameters = runtime_parameters or RuntimeParameters.of(config)
    where: dict[str, Any] = {"shared_folder": context.shared_folder}
    # TensorFlow writes to no address of Kubeflow's (`minio://`): there a training without a shared folder keeps no checkpoints.
    if not context.shared_folder and "://" not in context.pipeline_root:
        where = {"checkpoints": checkpoint_folder(config, context)}
    # Not in `training_spec`: whoever runs out of disk and changes it goes on from the same checkpoints.
    training = training_spec(config).model_copy(update={**where, "scratch_gb": config.data.scratch_gb})
    nodes: list[BaseNode] = []
    dataset: Any = context.dataset_uri
    fingerprint: Any = context.dataset_fingerprint
    if context.corpus_uri is not None:
        clip_generator = ClipGenerator(
            corpus_uri=context.corpus_uri,
            subsets=config.corpus.subsets,
            labelling=config.corpus.labelling,
            dataset_uri=context.dataset_uri,
            clips=clips,
            num_clips=runtime_parameters.num_clips,
            beam_options=config.beam.clips,
        )
        nodes.append(clip_generator)
        dataset, fingerprint = (clip_generator.outputs[name].future()[0].value for name in ("dataset", "fingerprint"))
    example_gen = ClipExampleGen(dataset_uri=dataset, fingerprint=fingerprint, min_class_share=config.data.min_class_share)
    # Audio lies in the dataset folder alone: what needs none of it gets `examples`, and the others find theirs by the reference.
    examples, clip_reference = example_gen.outputs["examples"], example_gen.outputs["clips"]
    # Without sketches every value of every feature is shuffled and counted, each clip's id too.
    stats_options = StatsOptions(feature_allowlist=list(METADATA), use_sketch_based_topk_uniques=True)
    statistics_gen = StatisticsGen(examples=examples, stats_options=stats_options)
    schema_gen = ImportSchemaGen(
        schema_text=SCHEMA.read_text(),
        max_values={LABEL: len(clips.classes) - 1, SEGMENT_LABELS: len(clips.labels) - 1},
    )
    schema = schema_gen.outputs["schema"]
    example_validator = ClipExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema)
    data_gate = DataGate(anomalies=example_validator.outputs["anomalies"])
    transform = Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="components.transform.preprocessing.preprocessing_fn",
        custom_config={"num_samples": clips.num_samples},
    )
    transform.add_upstream_node(data_gate)
    nodes += [example_gen, statistics_gen, schema_gen, example_validator, data_gate, transform]
    hyperparameters = None
    if config.tune is not None:
        tuner = Tuner(
            examples=examples,
            clips=clip_reference,
            transform_graph=transform.outputs["transform_graph"],
            schema=schema,
            spec=TuningSpec(**dict(training), tune=config.tune),
        )
        hyperparameters = tuner.outputs["best_hyperparameters"]
        nodes.append(tuner)
    trainer = Trainer(
        examples=examples,
        clips=clip_reference,
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        hyperparameters=hyperparameters,
        epochs=runtime_parameters.epochs,
        spec=training,
    )
    model = trainer.outputs["model"]
    nodes.append(trainer)
    # It waits for nothing: a model in serving that cannot be compared with stops the run before the training.
    serving_baseline = ServingBaseline(serving_uri=context.serving_uri, version=context.baseline_version, classes=clips.classes)
    baseline = serving_baseline.outputs["model"]
    evaluator = Evaluator(clips=clip_reference, model=model, baseline_model=baseline, classes=clips.classes)
    evaluation = evaluator.outputs["evaluation"]
    robustness = None
    if config.robustness is not None:
        robustness = Robustness(
            clips=clip_reference,
            model=model,
            baseline_model=baseline,
            config=config.robustness,
            classes=clips.classes,
            seed=clips.seed,
        )
        nodes.append(robustness)
    serving_check = ServingCheck(
        model=model,
        clips=clip_reference,
        model_run=trainer.outputs["model_run"],
        baseline_model=baseline,
        classes=clips.classes,
        config=config.serving_check,
    )
    servable = serving_check.outputs["blessing"]
    gate = Gate(
        evaluation=evaluation,
        model=model,
        baseline_model=baseline,
        serving_check=servable,
        robustness=robustness.outputs["scores"] if robustness else None,
        config=config.gate,
        classes=clips.classes,
    )
    report = ReviewReport(
        evaluation=evaluation,
        blessing=gate.outputs["blessing"],
        clips=clip_reference,
        model_run=trainer.outputs["model_run"],
        serving_check=servable,
        dataset_uri=dataset,
        corpus_uri=context.corpus_uri,
        config=config.model_dump(mode="json"),
        baseline_config=context.baseline_config,
        push_mode=runtime_parameters.push_mode,
        decide_by_package=context.keep_pending,
        alarm=context.alarm,
    )
    pusher = Pusher(
        model=model,
        model_blessing=gate.outputs["blessing"],
        infra_blessing=servable,
        baseline_model=baseline,
        serving_uri=context.serving_uri,
        config=config.push,
        mode=runtime_parameters.push_mode,
        run_config=config.model_dump(mode="json"),
        epochs=runtime_parameters.epochs,
        dataset_uri=dataset,
        corpus_uri=context.corpus_uri,
        approval=approval,
        serving_changes=context.serving_changes,
        keep_pending=context.keep_pending,
        alarm=context.alarm,
    )
    # Whoever asks how a model came into serving finds its report.
    pusher.add_upstream_node(report)
    nodes += [serving_baseline, evaluator, serving_check, gate, report, pusher]
    add_code_digests(nodes)
    return Pipeline(
        pipeline_name=NAME,
        pipeline_root=context.pipeline_root,
        components=nodes,
        enable_cache=True,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(config.beam.pipeline),
    )


def training_spec(config: PipelineConfig) -> TrainingSpec:
    """What the Trainer is told, but for where it keeps its checkpoints."""
    clips = config.clips
    return TrainingSpec(
        model=config.model,
        train=config.train,
        num_samples=clips.num_samples,
        sample_rate_hz=clips.sample_rate_hz,
        classes=list(clips.classes),
        max_duration_s=config.serving.max_duration_s,
        decision_threshold=config.serving.decision_threshold,
    )


def checkpoint_folder(config: PipelineConfig, context: RunContext) -> str:
    """Where a training keeps its checkpoints: one folder for all attempts at the same clips with the same settings and code."""
    inputs = json.dumps([training_spec(config).model_dump(mode="json"), context.dataset_fingerprint, training_code()])
    return f"{context.pipeline_root}/checkpoints/{hashlib.sha256(inputs.encode()).hexdigest()[:12]}"


def training_code() -> str:
    """The digest of the code that decides what a trained model is."""
    return Project().digest(
        "components.transform.preprocessing",
        "components.tuner.tuner_fn",
        "components.trainer.executor",
        "components.trainer.run_fn",
    )
