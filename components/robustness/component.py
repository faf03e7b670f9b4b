# SPDX-License-Identifier: Apache-2.0
"""Robustness: the candidate and the model in serving on degraded test clips."""

import json
from collections.abc import Sequence

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import BaseChannel, ComponentSpec, channel_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.clip_example_gen.artifact import Clips
from components.robustness.config import RobustnessConfig
from components.robustness.executor import Executor


class RobustnessSpec(ComponentSpec):
    """What goes in and out."""

    PARAMETERS = {
        "config": ExecutionParameter(type=str),
        "classes": ExecutionParameter(type=str),
        "seed": ExecutionParameter(type=int),
    }
    INPUTS = {
        "clips": ChannelParameter(type=Clips),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"scores": ChannelParameter(type=standard_artifacts.InferenceResult)}


class Robustness(base_component.BaseComponent):
    """Degrades some test clips and keeps what both models say of them; decides nothing.

    Args:
        clips: Clips, of whose split `test` some are used.
        model: Model, the candidate.
        baseline_model: Model of ServingBaseline, without a SavedModel where none is in serving.
        config: which degradations, how strong, on how many clips.
        classes: names by label.
        seed: of all chance, which depends on it and the clip's id alone.

    Outputs:
        scores: InferenceResult, `robustness.json` (`components.robustness.scores`).
    """

    SPEC_CLASS = RobustnessSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        clips: BaseChannel,
        model: BaseChannel,
        baseline_model: BaseChannel,
        config: RobustnessConfig,
        classes: Sequence[str],
        seed: int,
    ) -> None:
        super().__init__(
            RobustnessSpec(
                clips=clips,
                model=model,
                baseline_model=baseline_model,
                config=config.model_dump_json(),
                classes=json.dumps(list(classes)),
                seed=seed,
                scores=channel_utils.as_channel([standard_artifacts.InferenceResult()]),
            )
        )
