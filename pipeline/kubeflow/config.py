# SPDX-License-Identifier: Apache-2.0
"""Section `kubernetes` of the configuration: what a run on Kubeflow Pipelines needs to know of its cluster."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from beam_jobs.config import Strict
from beam_jobs.secret_names import holds_secret
from pipeline.nodes import NODES

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
"""Of a Kubernetes object."""
Claim = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
"""Kubeflow names the pod's volume after its claim, and a volume's name has no dots."""
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
"""As Kubernetes counts cores and bytes: `500m`, `2`, `16Gi`."""
MountPath = Annotated[str, StringConstraints(pattern=r"^/[^:]+$")]
SCHEMES = ("minio://", "s3://")
"""Of the pipeline root: nodes write ordinary files, and Kubeflow's launcher mirrors these at paths (`pipeline.kubeflow.uris`)."""


class SecretKey(Strict):
    """One value of a Secret."""

    secret: Name
    """Name of the Secret."""
    key: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
    """Key in it."""


class VolumeConfig(Strict):
    """A PersistentVolumeClaim, or a Secret whose keys are files, mounted into the steps of `nodes`."""

    claim: Claim | None = None
    """Name of the claim."""
    secret: Claim | None = None
    """Name of the Secret; its keys are files."""
    path: MountPath
    """Where to mount it."""
    nodes: list[str]
    """Nodes of the pipeline to mount it into."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.claim is None) == (self.secret is None):
            raise ValueError("set exactly one of claim and secret")
        return self


class Toleration(Strict):
    """As Kubernetes has it."""

    key: str
    """The taint's key."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """How the taint's value is compared."""
    value: str = ""
    """The taint's value, for `Equal`."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """The taint's effect; empty: all effects."""


class Accelerator(Strict):
    """GPUs or TPUs of one pod, such as `nvidia.com/gpu` or `google.com/tpu`."""

    type: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+/[a-zA-Z0-9._-]+$")]
    """Name of the extended resource."""
    count: Annotated[int, Field(ge=1)] = 1
    """How many of them."""


class StepConfig(Strict):
    """What a step's pod asks for, and which machines may run it."""

    cpu: Quantity = "1"
    """Requested cores; a step may use more if the node has them to spare."""
    memory: Quantity = "4Gi"
    """Requested memory, and the limit: a step that needs more is killed."""
    accelerator: Accelerator | None = None
    """`type`, such as `nvidia.com/gpu`, and `count`."""
    node_selector: dict[str, str] = {}
    """Labels that the node must have."""
    tolerations: list[Toleration] = []
    """As in a pod: `key`, `operator`, `value`, `effect`."""


class KubernetesConfig(Strict):
    """Where runs read and write, and what their steps' pods are given."""

    pipeline_root: str = "minio://mlpipeline/audio-gender"
    """Where Kubeflow keeps artifacts: `minio://` or `s3://`. In a profile with Kubeflow's own store only
    `minio://mlpipeline/private-artifacts/NAMESPACE/…` is allowed."""
    corpus_uri: str = ""
    """Default of the runtime parameter: the corpus to make clips from; empty: the dataset exists already."""
    dataset_uri: Annotated[str, StringConstraints(min_length=1)] = "s3://audio-gender/clips"
    """Default of the runtime parameter, for Beam's file systems: the folder in which each dataset has one of its own, named by
    its settings and recordings; without a corpus the dataset itself."""
    serving_uri: str = "/serving/audio-gender"
    """Where the model server finds versions: a folder on a volume of ServingBaseline and Pusher, or `gs://`."""
    shared_folder: MountPath | None = "/training"
    """On a volume of the Trainer and its workers: checkpoints, and the transform graph and model of workers in other pods.
    null: no such folder; workers are then processes of the Trainer's own pod, and a training that is stopped starts again."""
    env: dict[str, str] = {}
    """Environment of every step."""
    secret_env: dict[str, SecretKey] = {}
    """Environment variables of every step whose values come from secrets: `NAME: {secret: …, key: …}`."""
    image_pull_secrets: list[Name] = []
    """Names of secrets."""
    volumes: list[VolumeConfig] = [
        VolumeConfig(claim="audio-gender-serving", path="/serving", nodes=["ServingBaseline", "Pusher"]),
        VolumeConfig(claim="audio-gender-training", path="/training", nodes=["Trainer"]),
    ]
    """Volumes of steps: `claim` or `secret`, `path`, `nodes`, such as `{secret: audio-gender-signing, path: /keys, nodes:
    [Pusher]}`."""
    step: StepConfig = StepConfig()
    """What each step's pod requests, unless `steps` names its node."""
    steps: dict[str, StepConfig] = {}
    """In place of `step` for single nodes, such as `Trainer: {cpu: "8", memory: 16Gi, accelerator: {type: nvidia.com/gpu}}`. A
    key that is left out here has its default, not its value under `step`."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.pipeline_root.startswith(SCHEMES):
            raise ValueError(f"pipeline_root {self.pipeline_root!r} must begin with {', '.join(SCHEMES)}")
        if not self.serving_uri.startswith("gs://"):
            # Without a volume the model would vanish with the pod that pushed it.
            for node in ("ServingBaseline", "Pusher"):
                self._check_mounted("serving_uri", self.serving_uri, node)
        if self.shared_folder:
            self._check_mounted("shared_folder", self.shared_folder, "Trainer")
        for node in (*self.steps, *(node for volume in self.volumes for node in volume.nodes)):
            if node not in NODES:
                raise ValueError(f"this pipeline has no node {node}; its nodes are {', '.join(NODES)}")
        for node in NODES:
            paths = [volume.path for volume in self.volumes if node in volume.nodes]
            if len(set(paths)) < len(paths):
                raise ValueError(f"volumes: two are mounted at {max(paths, key=paths.count)} in {node}")
        both = sorted(self.env.keys() & self.secret_env.keys())
        if both:
            raise ValueError(f"env and secret_env both set {both[0]}")
        for name, value in self.env.items():
            if holds_secret(name, value):
                raise ValueError(
                    f"env sets {name}: a configuration is stored with each run and shown on its report; "
                    "put it in a Secret and name its key in kubernetes.secret_env"
                )
        for name in (*self.env, *self.secret_env):
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r} is not a name for an environment variable")
        return self

    def _check_mounted(self, key: str, path: str, node: str) -> None:
        mounted = [volume.path for volume in self.volumes if volume.claim and node in volume.nodes]
        if not any(PurePosixPath(path).is_relative_to(root) for root in mounted):
            raise ValueError(
                f"{key} {path!r} is not on a volume of {node} ({', '.join(mounted) or 'it has none'}); "
                "add one to kubernetes.volumes"
            )
