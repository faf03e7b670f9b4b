"""ServingBaseline: the model now in serving, as the Evaluator's baseline."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import ComponentSpec, channel_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.serving_baseline.executor import Executor


class ServingBaselineSpec(ComponentSpec):
    """What goes in and out."""

    PARAMETERS = {"serving_uri": ExecutionParameter(type=str), "version": ExecutionParameter(type=str)}
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {"model": ChannelParameter(type=standard_artifacts.Model)}


class ServingBaseline(base_component.BaseComponent):
    """Copies one version out of the serving folder.

    TFX's own way is a Resolver node, which open-source Kubeflow refuses (design: docs/decisions/).

    Args:
        serving_uri: the folder that holds one folder a version.
        version: the version's name.

    Outputs:
        model: Model.
    """

    SPEC_CLASS = ServingBaselineSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, serving_uri: str, version: str) -> None:
        model = channel_utils.as_channel([standard_artifacts.Model()])
        super().__init__(ServingBaselineSpec(serving_uri=serving_uri, version=version, model=model))
