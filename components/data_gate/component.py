# SPDX-License-Identifier: Apache-2.0
"""DataGate: data that does not fit the schema stops the run."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import BaseChannel, ComponentSpec, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.data_gate.executor import Executor


class DataGateSpec(ComponentSpec):
    """What goes in; nothing comes out but the permission to go on."""

    PARAMETERS: dict[str, ExecutionParameter] = {}
    INPUTS = {"anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies)}
    OUTPUTS: dict[str, ChannelParameter] = {}


class DataGate(base_component.BaseComponent):
    """Fails where ExampleValidator found anomalies, and says them in words.

    Args:
        anomalies: ExampleAnomalies of every split.
    """

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, *, anomalies: BaseChannel) -> None:
        super().__init__(DataGateSpec(anomalies=anomalies))
