# SPDX-License-Identifier: Apache-2.0
"""Gate: whether the candidate may be pushed."""

import json
from collections.abc import Sequence

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import BaseChannel, ComponentSpec, channel_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.gate.config import GateConfig
from components.gate.executor import Executor


class GateSpec(ComponentSpec):
    """What goes in and out."""

    PARAMETERS = {"config": ExecutionParameter(type=str), "classes": ExecutionParameter(type=str)}
    INPUTS = {
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": ChannelParameter(type=standard_artifacts.Model),
        "serving_check": ChannelParameter(type=standard_artifacts.InfraBlessing, optional=True),
        "robustness": ChannelParameter(type=standard_artifacts.InferenceResult, optional=True),
    }
    OUTPUTS = {"blessing": ChannelParameter(type=standard_artifacts.ModelBlessing)}


class Gate(base_component.BaseComponent):
    """Holds the candidate against every threshold and blesses it or says why not.

    TFMA can bless too, but its thresholds know neither intervals nor a smallest number of clips.

    Args:
        evaluation: ModelEvaluation of Evaluator.
        model: Model, the candidate.
        baseline_model: Model of ServingBaseline.
        config: the thresholds.
        classes: names by label.
        serving_check: InfraBlessing; its custom property `reasons`, a JSON list, says why the model must not be served.
        robustness: InferenceResult of Robustness.

    Outputs:
        blessing: ModelBlessing, with `gate.json` in it; as TFX's Evaluator does, it says whether the model is `blessed` (1 or 0),
            which one that is (`current_model`, `current_model_id`) and what it was compared with (`baseline_model`,
            `baseline_model_id`).
    """

    SPEC_CLASS = GateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        evaluation: BaseChannel,
        model: BaseChannel,
        baseline_model: BaseChannel,
        config: GateConfig,
        classes: Sequence[str],
        serving_check: BaseChannel | None = None,
        robustness: BaseChannel | None = None,
    ) -> None:
        super().__init__(
            GateSpec(
                evaluation=evaluation,
                model=model,
                baseline_model=baseline_model,
                config=config.model_dump_json(),
                classes=json.dumps(list(classes)),
                serving_check=serving_check,
                robustness=robustness,
                blessing=channel_utils.as_channel([standard_artifacts.ModelBlessing()]),
            )
        )
