# SPDX-License-Identifier: Apache-2.0
"""ServingCheck: can the exported model be served, by a process that has none of this project's code?"""

import json
from collections.abc import Sequence

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import BaseChannel, ComponentSpec, channel_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.clip_example_gen.artifact import Clips
from components.serving_check.config import ServingCheckConfig
from components.serving_check.executor import Executor


class ServingCheckSpec(ComponentSpec):
    """What goes in and out."""

    PARAMETERS = {
        "classes": ExecutionParameter(type=str),
        "max_memory_mb": ExecutionParameter(type=int),
        "max_seconds": ExecutionParameter(type=float),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "clips": ChannelParameter(type=Clips),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
        "baseline_model": ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"blessing": ChannelParameter(type=standard_artifacts.InfraBlessing)}


class ServingCheck(base_component.BaseComponent):
    """Loads the model in a clean process, asks every signature, and compares the answers; times it beside the one in serving.

    TFX's own InfraValidator needs a model server in Docker or Kubernetes.

    Args:
        model: Model, the exported one.
        clips: Clips; some of split `eval` are asked about.
        model_run: ModelRun of Trainer, with what the trained network says of them before it is exported.
        baseline_model: Model of ServingBaseline, without a SavedModel where none is in serving; it is only timed.
        classes: names in the order in which the model must give them.
        config: memory and time that the process may take.

    Outputs:
        blessing: InfraBlessing with `blessed`, `has_model` (0), `reasons` (a JSON list) and `serving_check.json`
            (`components.serving_check.result`).
    """

    SPEC_CLASS = ServingCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        model: BaseChannel,
        clips: BaseChannel,
        model_run: BaseChannel,
        baseline_model: BaseChannel,
        classes: Sequence[str],
        config: ServingCheckConfig,
    ) -> None:
        spec = ServingCheckSpec(
            model=model,
            clips=clips,
            model_run=model_run,
            baseline_model=baseline_model,
            classes=json.dumps(list(classes)),
            max_memory_mb=config.max_memory_mb,
            max_seconds=config.max_seconds,
            blessing=channel_utils.as_channel([standard_artifacts.InfraBlessing()]),
        )
        super().__init__(spec)
