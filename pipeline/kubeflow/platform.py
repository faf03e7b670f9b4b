# SPDX-License-Identifier: Apache-2.0
"""What Kubeflow's pipeline spec itself cannot say of a step's pod: its Kubernetes platform spec."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig

from components.run_id import VARIABLE as RUN_ID
from pipeline.kubeflow.config import KubernetesConfig, StepConfig

POD_LABELS = {"app.kubernetes.io/part-of": "audio-gender"}
"""What NetworkPolicies know the steps by."""
NODE_LABEL = "app.kubernetes.io/component"
RUN_ID_FIELD = "metadata.labels['pipeline/runid']"


def resources(step: StepConfig) -> dict[str, Any]:
    """The resources of a step as the pipeline spec's `resources`."""
    result: dict[str, Any] = {
        "resourceCpuRequest": step.cpu,
        "resourceMemoryRequest": step.memory,
        "resourceMemoryLimit": step.memory,
    }
    if step.accelerator:
        result["accelerator"] = {"resourceType": step.accelerator.type, "resourceCount": str(step.accelerator.count)}
    return result


class CompiledNode(NamedTuple):
    """A node of the compiled pipeline, the node whose configuration it has, and the name of its executor in the pipeline spec."""

    name: str
    configured_as: str
    executor: str


def platform_spec(kubernetes: KubernetesConfig, nodes: Sequence[CompiledNode]) -> dict[str, Any]:
    """The second document of a compiled pipeline."""
    specs = {node.executor: _executor_config(kubernetes, node.name, node.configured_as) for node in nodes}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": specs}}}}


def _executor_config(kubernetes: KubernetesConfig, node: str, configured_as: str) -> dict[str, Any]:
    step = kubernetes.steps.get(configured_as, kubernetes.step)
    config = KubernetesExecutorConfig()
    # With it Pod Security `restricted` admits the step; what else that asks for, Kubeflow sets.
    config.security_context.run_as_non_root = True
    config.pod_metadata.labels.update({**POD_LABELS, NODE_LABEL: node.lower()})
    config.field_path_as_env.add(name=RUN_ID, field_path=RUN_ID_FIELD)
    config.node_selector.labels.update(step.node_selector)
    for toleration in step.tolerations:
        config.tolerations.add(**toleration.model_dump())
    for name in kubernetes.image_pull_secrets:
        secret = config.image_pull_secret.add(secret_name=name)
        secret.secret_name_parameter.runtime_value.constant.string_value = name
    for variable, source in kubernetes.secret_env.items():
        as_env = config.secret_as_env.add(secret_name=source.secret, optional=False)
        as_env.secret_name_parameter.runtime_value.constant.string_value = source.secret
        as_env.key_to_env.add(secret_key=source.key, env_var=variable)
    for volume in kubernetes.volumes:
        if configured_as in volume.nodes and volume.secret:
            secret_mount = config.secret_as_volume.add(secret_name=volume.secret, mount_path=volume.path, optional=False)
            secret_mount.secret_name_parameter.runtime_value.constant.string_value = volume.secret
        elif configured_as in volume.nodes:
            mount = config.pvc_mount.add(mount_path=volume.path, constant=volume.claim)
            mount.pvc_name_parameter.runtime_value.constant.string_value = volume.claim
    return dict(json_format.MessageToDict(config))
