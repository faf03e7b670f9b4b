# SPDX-License-Identifier: Apache-2.0
"""ReviewReport: one page that tells a reviewer what the gate found and lets her hear the mistakes."""

import json
from collections.abc import Mapping
from typing import Any

from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.placeholder.placeholder import Placeholder
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import BaseChannel, ComponentSpec, channel_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.clip_example_gen.artifact import Clips
from components.review_report.artifact import Report
from components.review_report.executor import Executor


class ReviewReportSpec(ComponentSpec):
    """What goes in and out."""

    PARAMETERS = {
        "dataset_uri": ExecutionParameter(type=str),
        "corpus_uri": ExecutionParameter(type=str, optional=True),
        "config": ExecutionParameter(type=str),
        "baseline_config": ExecutionParameter(type=str),
        "push_mode": ExecutionParameter(type=str),
        "decide_by_package": ExecutionParameter(type=int),
        "alarm": ExecutionParameter(type=str),
    }
    INPUTS = {
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "clips": ChannelParameter(type=Clips),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
        "serving_check": ChannelParameter(type=standard_artifacts.InfraBlessing),
    }
    OUTPUTS = {"report": ChannelParameter(type=Report)}


class ReviewReport(base_component.BaseComponent):
    """Writes the page.

    Args:
        evaluation: ModelEvaluation of Evaluator, with the raw predictions.
        blessing: ModelBlessing of Gate, with `gate.json`.
        clips: Clips, for the sound of the mistakes.
        model_run: ModelRun of Trainer, for the training curves.
        serving_check: InfraBlessing of ServingCheck, with what the models take to answer.
        dataset_uri: the dataset folder.
        corpus_uri: the corpus, of a compiled pipeline; else None.
        config: the run's resolved configuration.
        baseline_config: that of the run whose model is in serving; None where it is not known.
        push_mode: that of the Pusher, which comes next.
        decide_by_package: whether a person decides by a pipeline of one step, as on Kubeflow, and not in a work folder.
        alarm: what a retraining answers, a `components.alarm.Alarm` as JSON; empty where a person started the run.

    Outputs:
        report: the page, an artifact of type `system.HTML` with the `display_name` under which Kubeflow's UI shows it.
    """

    SPEC_CLASS = ReviewReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        evaluation: BaseChannel,
        blessing: BaseChannel,
        clips: BaseChannel,
        model_run: BaseChannel,
        serving_check: BaseChannel,
        dataset_uri: str | Placeholder,
        corpus_uri: str | RuntimeParameter | None = None,
        config: Mapping[str, Any],
        baseline_config: Mapping[str, Any] | None = None,
        push_mode: str | RuntimeParameter = "auto",
        decide_by_package: bool = False,
        alarm: str | RuntimeParameter = "",
    ) -> None:
        super().__init__(
            ReviewReportSpec(
                evaluation=evaluation,
                blessing=blessing,
                clips=clips,
                model_run=model_run,
                serving_check=serving_check,
                dataset_uri=dataset_uri,
                corpus_uri=corpus_uri,
                config=json.dumps(config),
                baseline_config=json.dumps(baseline_config),
                push_mode=push_mode,
                decide_by_package=int(decide_by_package),
                alarm=alarm,
                report=channel_utils.as_channel([Report()]),
            )
        )
