# SPDX-License-Identifier: Apache-2.0
"""Decision: what a person decided about a model that waits, or about the one in serving."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import ComponentSpec, channel_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.decision.executor import Executor
from components.pusher.config import PushConfig


class DecisionSpec(ComponentSpec):
    """What goes in and out."""

    PARAMETERS = {
        "serving_uri": ExecutionParameter(type=str),
        "keep": ExecutionParameter(type=int),
        "private_key": ExecutionParameter(type=str),
        "openlineage_url": ExecutionParameter(type=str),
        "action": ExecutionParameter(type=str),
        "run_id": ExecutionParameter(type=str),
        "version": ExecutionParameter(type=int),
        "by": ExecutionParameter(type=str),
        "note": ExecutionParameter(type=str),
        "override": ExecutionParameter(type=int),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {"pushed_model": ChannelParameter(type=standard_artifacts.PushedModel)}


class Decision(base_component.BaseComponent):
    """Approves or rejects a model that a Pusher kept waiting in the serving folder, or rolls serving back.

    Args:
        serving_uri: the serving folder, on a volume.
        config: how many old versions are kept, and which key signs what is approved; a rollback goes to what it signed alone.
        action: `approve`, `reject` or `rollback`.
        run_id: of `approve` and `reject`: the run whose model waits.
        version: of `rollback`; 0 for the model before the one in serving.
        by: who decides.
        note: why; `reject` and an override need one.
        override: 1 to approve a model although another came into serving since it was compared.

    Outputs:
        pushed_model: PushedModel as that of Pusher, with `pushed`, and where that is 1 `pushed_version`, `pushed_destination` and
            the model's `components.pusher.provenance.Provenance`.
    """

    SPEC_CLASS = DecisionSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        serving_uri: str,
        config: PushConfig,
        action: str | RuntimeParameter,
        run_id: str | RuntimeParameter,
        version: int | RuntimeParameter,
        by: str | RuntimeParameter,
        note: str | RuntimeParameter,
        override: int | RuntimeParameter,
    ) -> None:
        super().__init__(
            DecisionSpec(
                serving_uri=serving_uri,
                keep=config.keep,
                private_key=config.private_key or "",
                openlineage_url=config.openlineage_url or "",
                action=action,
                run_id=run_id,
                version=version,
                by=by,
                note=note,
                override=override,
                pushed_model=channel_utils.as_channel([standard_artifacts.PushedModel()]),
            )
        )
