# SPDX-License-Identifier: Apache-2.0
"""The pipelines that are compiled for Kubeflow Pipelines: the training pipeline, and a person's decision about its model."""

from pathlib import Path, PurePosixPath
from typing import get_args

from tfx.orchestration.pipeline import Pipeline

from beam_jobs.config import SPLITS
from beam_jobs.errors import UserError
from beam_jobs.files import write_atomically
from components.decision.component import Decision
from components.pusher.config import PushConfig
from components.serving_baseline.executor import NEWEST
from pipeline.config import PipelineConfig
from pipeline.dag import NAME, RunContext, RuntimeParameters, create_pipeline
from pipeline.kubeflow.package import Parameter, package


def compile_pipeline(config: PipelineConfig, image: str) -> str:
    """The training pipeline as a package.

    Args:
        config: the configuration.
        image: the image of every step.

    Raises:
        UserError: `kubernetes` names a node that the pipeline has not, or mounts nothing where `push.private_key` lies; or
            candidates are asked for where models are not served from a volume.
    """
    _check_key(config)
    if config.push.mode == "canary" and "://" in config.kubernetes.serving_uri:
        raise UserError(
            f"push.mode canary: kubernetes.serving_uri {config.kubernetes.serving_uri} is an object store, which cannot rename "
            "a candidate; serve from a folder on a volume"
        )
    kubernetes, counts = config.kubernetes, config.clips.num_clips.model_dump()
    parameters = _by_name(
        Parameter("corpus_uri", "corpus to mix clips from; empty if the dataset already exists", kubernetes.corpus_uri),
        Parameter("dataset_uri", "folder of datasets; without corpus_uri the dataset itself", kubernetes.dataset_uri),
        *(Parameter(f"num_{split}_clips", f"clips to mix for split {split}", counts[split], int) for split in SPLITS),
        Parameter("epochs", "training epochs", config.train.epochs, int),
        Parameter(
            "push_mode",
            "auto: push a model that passes the gate; review: wait for a person's approval; canary: a server tries it first",
            config.push.mode,
            choices=get_args(PushConfig.model_fields["mode"].annotation),
        ),
        Parameter("alarm", "why `watch --retrain` started the run; empty: a person did", ""),
    )
    context = RunContext(
        dataset_uri=parameters["dataset_uri"].runtime(),
        dataset_fingerprint="",
        pipeline_root=kubernetes.pipeline_root,
        serving_uri=kubernetes.serving_uri,
        baseline_version=NEWEST,
        corpus_uri=parameters["corpus_uri"].runtime(),
        shared_folder=kubernetes.shared_folder,
        keep_pending="://" not in kubernetes.serving_uri,
        alarm=parameters["alarm"].runtime(),
    )
    runtime_parameters = RuntimeParameters(
        num_clips={split: parameters[f"num_{split}_clips"].runtime() for split in SPLITS},
        epochs=parameters["epochs"].runtime(),
        push_mode=parameters["push_mode"].runtime(),
    )
    pipeline = create_pipeline(config, context, runtime_parameters=runtime_parameters)
    _check_nodes(config, [component.id for component in pipeline.components])
    return package(pipeline, image, parameters, kubernetes)


def compile_decision(config: PipelineConfig, image: str) -> str:
    """A pipeline of one node, a person's decision, as a package; its step is configured as the Pusher's.

    Raises:
        UserError: models are not served from a volume, or nothing is mounted where `push.private_key` lies.
    """
    _check_key(config)
    kubernetes = config.kubernetes
    if "://" in kubernetes.serving_uri:
        raise UserError(
            f"kubernetes.serving_uri {kubernetes.serving_uri}: on an object store models cannot wait for a decision; "
            "serve from a folder on a volume"
        )
    parameters = _by_name(
        Parameter("action", "the decision", choices=("approve", "reject", "rollback")),
        Parameter("by", "name of the person who decides"),
        Parameter("run_id", "for approve and reject: the run whose model is waiting", ""),
        Parameter("version", "for rollback: the version to restore; 0 for the model before the one now in serving", 0, int),
        Parameter("note", "reason; required by reject and override", ""),
        Parameter("override", "1: approve even though another model has come into serving since", 0, int),
    )
    given = {name: parameter.runtime() for name, parameter in parameters.items()}
    decision = Decision(serving_uri=kubernetes.serving_uri, config=config.push, **given)
    pipeline = Pipeline(f"{NAME}-decision", kubernetes.pipeline_root, components=[decision])
    return package(pipeline, image, parameters, kubernetes, like={decision.id: "Pusher"})


def write_package(text: str, path: Path) -> None:
    """Writes a package whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    try:
        write_atomically(str(path.absolute()), text.encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); pass another --output") from None


def _by_name(*parameters: Parameter) -> dict[str, Parameter]:
    return {parameter.name: parameter for parameter in parameters}


def _check_key(config: PipelineConfig) -> None:
    key = config.push.private_key
    mounted = [volume.path for volume in config.kubernetes.volumes if "Pusher" in volume.nodes]
    if key and not any(PurePosixPath(key).is_relative_to(path) for path in mounted):
        raise UserError(
            f"push.private_key {key}: is not on a volume of Pusher ({', '.join(mounted)}); add one to kubernetes.volumes, "
            f"such as {{secret: audio-gender-signing, path: {PurePosixPath(key).parent}, nodes: [Pusher]}}"
        )


def _check_nodes(config: PipelineConfig, nodes: list[str]) -> None:
    named = {*config.kubernetes.steps, *(node for volume in config.kubernetes.volumes for node in volume.nodes)}
    if unknown := sorted(named - set(nodes)):
        raise UserError(f"kubernetes: this pipeline has no node {unknown[0]}; its nodes are {', '.join(nodes)}")
