# SPDX-License-Identifier: Apache-2.0
"""The work of ImportSchemaGen: write the schema where TFX's nodes look for it."""

import json
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.schema_gen.executor import DEFAULT_FILE_NAME
from tfx.dsl.components.base import base_executor
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils

from beam_jobs.errors import UserError


class Executor(base_executor.BaseExecutor):
    """Executor of ImportSchemaGen."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Writes the schema.

        Raises:
            UserError: it is not valid.
        """
        try:
            schema = text_format.Parse(exec_properties["schema_text"], schema_pb2.Schema())
        except text_format.ParseError as error:
            raise UserError(f"pipeline/schema/schema.pbtxt:{error}") from None
        features = {feature.name: feature for feature in schema.feature}
        for name, value in json.loads(exec_properties["max_values"]).items():
            if name not in features:
                raise UserError(f"pipeline/schema/schema.pbtxt: there is no feature {name}")
            features[name].int_domain.max = value
        text = text_format.MessageToString(schema)
        io_utils.write_string_file(f"{artifact_utils.get_single_uri(output_dict['schema'])}/{DEFAULT_FILE_NAME}", text)
