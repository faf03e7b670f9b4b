# SPDX-License-Identifier: Apache-2.0
"""Evaluator: the candidate and the model in serving on the same test clips, by TFMA."""

import json
from collections.abc import Sequence

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import BaseChannel, ComponentSpec, channel_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.clip_example_gen.artifact import Clips
from components.evaluator.executor import Executor


class EvaluatorSpec(ComponentSpec):
    """What goes in and out."""

    PARAMETERS = {"classes": ExecutionParameter(type=str)}
    INPUTS = {
        "clips": ChannelParameter(type=Clips),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS = {"evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation)}


class Evaluator(base_beam_component.BaseBeamComponent):
    """Computes every metric by slice and keeps the raw predictions; decides nothing.

    TFX's own Evaluator takes no baseline that may be empty, and tells its extractors nothing of where the results go.

    Args:
        clips: Clips, of which the split `test` is used.
        model: Model, the candidate.
        baseline_model: Model of ServingBaseline, without a SavedModel where none is in serving.
        classes: names by label.

    Outputs:
        evaluation: ModelEvaluation, with the folder `predictions` beside TFMA's files.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, *, clips: BaseChannel, model: BaseChannel, baseline_model: BaseChannel, classes: Sequence[str]) -> None:
        evaluation = channel_utils.as_channel([standard_artifacts.ModelEvaluation()])
        super().__init__(
            EvaluatorSpec(
                clips=clips,
                model=model,
                baseline_model=baseline_model,
                classes=json.dumps(list(classes)),
                evaluation=evaluation,
            )
        )
