# SPDX-License-Identifier: Apache-2.0
"""Pusher: puts a model into serving that the gate blessed, or that a person approved."""

import json
from collections.abc import Mapping
from typing import Any

from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.placeholder.placeholder import Placeholder
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import BaseChannel, ComponentSpec, channel_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.pusher.config import PushConfig
from components.pusher.executor import Executor
from components.pusher.provenance import Approval


class PusherSpec(ComponentSpec):
    """What goes in and out."""

    PARAMETERS = {
        "serving_uri": ExecutionParameter(type=str),
        "mode": ExecutionParameter(type=str),
        "keep": ExecutionParameter(type=int),
        "run_config": ExecutionParameter(type=str),
        "epochs": ExecutionParameter(type=int),
        "dataset_uri": ExecutionParameter(type=str),
        "corpus_uri": ExecutionParameter(type=str, optional=True),
        "approval": ExecutionParameter(type=str),
        "serving_changes": ExecutionParameter(type=str),
        "keep_pending": ExecutionParameter(type=int),
        "alarm": ExecutionParameter(type=str),
        "private_key": ExecutionParameter(type=str),
        "openlineage_url": ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing),
        "baseline_model": ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS = {"pushed_model": ChannelParameter(type=standard_artifacts.PushedModel)}


class Pusher(base_component.BaseComponent):
    """Copies a model into the serving folder, whole or not at all, with its provenance.

    TFX's own lets a model server see a version that is half copied, and counts in seconds.

    Args:
        model: Model, the candidate.
        model_blessing: ModelBlessing of the gate.
        infra_blessing: InfraBlessing of the serving check; without it nothing pushes a model.
        baseline_model: Model of ServingBaseline, which the candidate was compared with. Where another one came into serving
            since, the candidate waits for approval.
        serving_uri: the folder that holds one folder a version.
        config: how many old versions are kept, and which key signs.
        mode: as `config.mode`, before which it goes: whether a blessed model is pushed at once, waits or becomes a candidate.
        run_config: the run's resolved configuration, for its provenance; of a compiled pipeline the one it was compiled with.
        epochs: what the run really had, before `run_config`.
        dataset_uri: the run's dataset folder, for its provenance.
        corpus_uri: the corpus of a compiled pipeline, likewise; else None.
        approval: who approved the model; None in a run.
        serving_changes: what people did to the serving folder since: versions of the same run that were removed by hand, models
            that were withdrawn. Nothing reads it: it keeps TFX's cache from repeating what is no longer true.
        keep_pending: keep a pending model in the serving folder, for a Decision.
        alarm: what a retraining answers, a `components.alarm.Alarm` as JSON; empty where a person started the run.

    Outputs:
        pushed_model: PushedModel with `pushed` (0 or 1), `waiting` (1 where it waits for approval; `waiting_for` says why), of
            a candidate `trial_version`, which it is to be, and of a pushed model `pushed_version`, `pushed_destination` and its
            `components.pusher.provenance.Provenance`.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        model: BaseChannel,
        model_blessing: BaseChannel,
        infra_blessing: BaseChannel,
        baseline_model: BaseChannel | None,
        serving_uri: str,
        config: PushConfig,
        mode: str | RuntimeParameter,
        run_config: Mapping[str, Any],
        epochs: int | RuntimeParameter,
        dataset_uri: str | Placeholder,
        corpus_uri: str | RuntimeParameter | None = None,
        approval: Approval | None = None,
        serving_changes: str = "",
        keep_pending: bool = False,
        alarm: str | RuntimeParameter = "",
    ) -> None:
        spec = PusherSpec(
            model=model,
            model_blessing=model_blessing,
            infra_blessing=infra_blessing,
            baseline_model=baseline_model,
            serving_uri=serving_uri,
            mode=mode,
            keep=config.keep,
            run_config=json.dumps(run_config),
            epochs=epochs,
            dataset_uri=dataset_uri,
            corpus_uri=corpus_uri,
            approval=approval.model_dump_json() if approval else "",
            serving_changes=serving_changes,
            keep_pending=int(keep_pending),
            alarm=alarm,
            private_key=config.private_key or "",
            openlineage_url=config.openlineage_url or "",
            pushed_model=channel_utils.as_channel([standard_artifacts.PushedModel()]),
        )
        super().__init__(spec)
