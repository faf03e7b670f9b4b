"""Compiles the DAG for Kubeflow Pipelines: TFX's own compiler, and what open-source Kubeflow needs besides."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig

from beam_jobs.config import SPLITS
from beam_jobs.errors import UserError
from beam_jobs.files import write_whole
from components.serving_baseline.executor import NEWEST
from pipeline.config import PipelineConfig
from pipeline.dag import Changeable, Locations, create_pipeline
from pipeline.kubeflow.platform import platform_spec, resources

COMMAND = ["python", "-m", "pipeline.kubeflow.entrypoint"]
IN_IMAGE = "/app"
"""Where the image has this project."""
SCHEMA_IN_IMAGE = f"{IN_IMAGE}/pipeline/schema/schema.pbtxt"
NOT_CACHED = ("ClipGenerator", "ClipExampleGen", "ServingBaseline", "Pusher")
"""What these nodes read or write is not in Kubeflow's cache key: the same URI may hold another dataset or another model."""


def compile_pipeline(config: PipelineConfig, image: str) -> str:
    """The pipeline as Kubeflow Pipelines takes it: two YAML documents, pipeline spec 2.1 and Kubernetes platform spec.

    Args:
        config: the configuration.
        image: the image of every step.

    Raises:
        UserError: `kubernetes` names a node that the pipeline has not.
    """
    parameters = _parameters(config)
    pipeline = create_pipeline(
        config,
        Locations(
            dataset_uri=_runtime(parameters, "dataset_uri"),
            dataset_fingerprint="",
            pipeline_root=config.kubernetes.pipeline_root,
            serving_uri=config.kubernetes.serving_uri,
            baseline_version=NEWEST,
            corpus_uri=_runtime(parameters, "corpus_uri"),
            shared_folder=config.kubernetes.shared_folder,
            schema_file=SCHEMA_IN_IMAGE,
        ),
        changeable=Changeable(
            num_clips={split: _runtime(parameters, f"num_{split}_clips") for split in SPLITS},
            epochs=_runtime(parameters, "epochs"),
            push_mode=_runtime(parameters, "push_mode"),
        ),
    )
    runner = KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(default_image=image, default_commands=COMMAND, use_pipeline_spec_2_1=True)
    )
    spec = runner.run(pipeline, write_out=False)["pipelineSpec"]
    executors = {name: component["executorLabel"] for name, component in spec["components"].items()}
    _check_nodes(config, executors)
    spec["defaultPipelineRoot"] = config.kubernetes.pipeline_root
    for name, (value, description) in parameters.items():
        spec["root"]["inputDefinitions"]["parameters"][name].update(defaultValue=value, description=description, isOptional=True)
    for node, label in executors.items():
        container = spec["deploymentSpec"]["executors"][label]["container"]
        container["env"] = [{"name": name, "value": value} for name, value in config.kubernetes.env.items()]
        container["resources"] = resources(config.kubernetes.steps.get(node, config.kubernetes.step))
        if node in NOT_CACHED:
            spec["root"]["dag"]["tasks"][node]["cachingOptions"] = {}
    text: str = yaml.safe_dump_all([spec, platform_spec(config.kubernetes, executors)], sort_keys=False, allow_unicode=True)
    return text


def write_pipeline(text: str, path: Path) -> None:
    """Writes a compiled pipeline whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        write_whole(str(path.absolute()), text.encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another --output") from None


def _parameters(config: PipelineConfig) -> dict[str, tuple[Any, str]]:
    """Default and description of each runtime parameter, by name."""
    counts = config.clips.num_clips.model_dump()
    return {
        "corpus_uri": (config.kubernetes.corpus_uri, "corpus to mix clips from; empty: the dataset is there already"),
        "dataset_uri": (config.kubernetes.dataset_uri, "dataset folder"),
        **{f"num_{split}_clips": (counts[split], f"clips to mix for split {split}") for split in SPLITS},
        "epochs": (config.train.epochs, "epochs of the training"),
        "push_mode": (config.push.mode, "auto: push what the gate blesses; review: it waits for a person"),
    }


def _runtime(parameters: Mapping[str, tuple[Any, str]], name: str) -> RuntimeParameter:
    value = parameters[name][0]
    return RuntimeParameter(name, type(value), value)


def _check_nodes(config: PipelineConfig, executors: Mapping[str, str]) -> None:
    named = {*config.kubernetes.steps, *(node for volume in config.kubernetes.volumes for node in volume.nodes)}
    if unknown := sorted(named - executors.keys()):
        raise UserError(f"kubernetes: no node {unknown[0]} in this pipeline; there are {', '.join(executors)}")
