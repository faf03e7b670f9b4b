# SPDX-License-Identifier: Apache-2.0
"""A TFX pipeline as a package for Kubeflow Pipelines: TFX's own compiler, and what open-source Kubeflow needs besides."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig
from tfx.orchestration.pipeline import Pipeline

from pipeline.kubeflow.config import KubernetesConfig
from pipeline.kubeflow.platform import CompiledNode, platform_spec, resources

COMMAND = ["python", "-m", "pipeline.kubeflow.entrypoint"]
NOT_CACHED = ("ClipGenerator", "ServingBaseline", "ReviewReport", "Pusher", "Decision")
"""What these nodes read or write is not in Kubeflow's cache key: the same URI may hold another dataset or another model, and a
report names its own run."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A runtime parameter. Without a default a run must give it; with `choices` it may be nothing else."""

    name: str
    description: str
    default: Any = None
    type: type = str
    choices: tuple[str, ...] = ()

    def runtime(self) -> RuntimeParameter:
        """As TFX's DSL has it."""
        return RuntimeParameter(self.name, self.type, self.default)

    def definition(self) -> dict[str, Any]:
        """What TFX's compiler leaves out of the pipeline's input definition."""
        known: dict[str, Any] = {"description": self.description}
        if self.default is not None:
            known |= {"defaultValue": self.default, "isOptional": True}
        return known | ({"literals": list(self.choices)} if self.choices else {})


def package(
    pipeline: Pipeline,
    image: str,
    parameters: Mapping[str, Parameter],
    kubernetes: KubernetesConfig,
    like: Mapping[str, str] | None = None,
) -> str:
    """Two YAML documents: pipeline spec 2.1 and Kubernetes platform spec.

    Args:
        pipeline: whose nodes read `parameters`.
        image: of every step.
        parameters: by name.
        kubernetes: the configuration of the steps.
        like: nodes that are configured as another node.
    """
    runner = KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(default_image=image, default_commands=COMMAND, use_pipeline_spec_2_1=True)
    )
    spec = runner.run(pipeline, write_out=False)["pipelineSpec"]
    # Kubeflow itself does not read it; `submit` does.
    spec["defaultPipelineRoot"] = kubernetes.pipeline_root
    for name, parameter in parameters.items():
        spec["root"]["inputDefinitions"]["parameters"][name].update(parameter.definition())
    steps = [
        CompiledNode(node, (like or {}).get(node, node), component["executorLabel"])
        for node, component in spec["components"].items()
    ]
    for node, configured_as, executor in steps:
        container = spec["deploymentSpec"]["executors"][executor]["container"]
        container["env"] = [{"name": name, "value": value} for name, value in kubernetes.env.items()]
        container["resources"] = resources(kubernetes.steps.get(configured_as, kubernetes.step))
        if node in NOT_CACHED:
            spec["root"]["dag"]["tasks"][node]["cachingOptions"] = {}
        for value in spec["root"]["dag"]["tasks"][node]["inputs"].get("parameters", {}).values():
            if produced := value.get("taskOutputParameter"):
                # TFX's compiler names a task by its node here as well, but with a suffix that no task has (tfx 1.21.0,
                # step_builder.py, `producer_component_id + '_task'`; not reported upstream).
                produced["producerTask"] = produced["producerTask"].removesuffix("_task")
    text: str = yaml.safe_dump_all([spec, platform_spec(kubernetes, steps)], allow_unicode=True)
    return text
