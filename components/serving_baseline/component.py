# SPDX-License-Identifier: Apache-2.0
"""ServingBaseline: the model now in serving, as the Evaluator's baseline."""

import json
from collections.abc import Sequence

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import ComponentSpec, channel_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.serving_baseline.executor import Executor


class ServingBaselineSpec(ComponentSpec):
    """What goes in and out."""

    PARAMETERS = {
        "serving_uri": ExecutionParameter(type=str),
        "version": ExecutionParameter(type=str),
        "classes": ExecutionParameter(type=str),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {"model": ChannelParameter(type=standard_artifacts.Model)}


class ServingBaseline(base_component.BaseComponent):
    """Copies one version out of the serving folder, or says that there is none.

    TFX's own way is a Resolver node, which open-source Kubeflow refuses (design: docs/decisions/).

    Args:
        serving_uri: the folder that holds one folder a version.
        version: the version's name; empty for none; `newest` to look it up when the component runs, which must then not be
            served from a cache.
        classes: names by label, which the model in serving must give in the same order.

    Outputs:
        model: Model, with the version as its custom property `serving_version`; where there is none, an empty one.
    """

    SPEC_CLASS = ServingBaselineSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, *, serving_uri: str, version: str, classes: Sequence[str]) -> None:
        model = channel_utils.as_channel([standard_artifacts.Model()])
        super().__init__(
            ServingBaselineSpec(serving_uri=serving_uri, version=version, classes=json.dumps(list(classes)), model=model)
        )
