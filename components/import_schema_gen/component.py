# SPDX-License-Identifier: Apache-2.0
"""ImportSchemaGen: the curated schema, as TFX's nodes take it."""

import json
from collections.abc import Mapping

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import ComponentSpec, channel_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.import_schema_gen.executor import Executor


class ImportSchemaGenSpec(ComponentSpec):
    """What goes in and out."""

    PARAMETERS = {"schema_text": ExecutionParameter(type=str), "max_values": ExecutionParameter(type=str)}
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {"schema": ChannelParameter(type=standard_artifacts.Schema)}


class ImportSchemaGen(base_component.BaseComponent):
    """Publishes a schema that is part of the code.

    TFX's own takes a path, which is then part of the cache key where its content is not, and must exist on whatever machine the
    node runs.

    Args:
        schema_text: the schema, as the text of a protobuf.
        max_values: by feature, the greatest value of its `int_domain`: what follows from the classes that a run tells apart.

    Outputs:
        schema: Schema.
    """

    SPEC_CLASS = ImportSchemaGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, *, schema_text: str, max_values: Mapping[str, int]) -> None:
        schema = channel_utils.as_channel([standard_artifacts.Schema()])
        super().__init__(ImportSchemaGenSpec(schema_text=schema_text, max_values=json.dumps(max_values), schema=schema))
