# SPDX-License-Identifier: Apache-2.0
"""The work of ClipExampleValidator: hold statistics against what of the schema they can have."""

from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.components.example_validator import executor
from tfx.types import standard_component_specs

STATISTICS_ENVIRONMENT = "STATISTICS"


class Executor(executor.Executor):
    """Validates against the features that statistics are computed on.

    TFX 1.21 documents an environment for this method and hands none to TFDV, so the audio, which statistics leave out, would
    be reported as missing. What is not in the environment is therefore taken out of the schema first.
    """

    def _Validate(  # noqa: N802 (TFX's name)
        self, inputs: dict[str, Any], outputs: dict[str, Any]
    ) -> anomalies_pb2.Anomalies:
        schema = schema_pb2.Schema()
        schema.CopyFrom(inputs[standard_component_specs.SCHEMA_KEY])
        kept = [feature for feature in schema.feature if STATISTICS_ENVIRONMENT not in feature.not_in_environment]
        del schema.feature[:]
        schema.feature.extend(kept)
        return super()._Validate({**inputs, standard_component_specs.SCHEMA_KEY: schema}, outputs)
