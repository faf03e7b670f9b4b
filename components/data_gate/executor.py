# SPDX-License-Identifier: Apache-2.0
"""The work of DataGate: read the anomalies, say them, stop."""

from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils

from beam_jobs.errors import UserError

# ExampleValidator's name for its output file.
ANOMALIES_FILE = "SchemaDiff.pb"


class Executor(base_executor.BaseExecutor):
    """Executor of DataGate."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Passes where no split has an anomaly.

        Raises:
            UserError: the anomalies in words.
        """
        artifact = artifact_utils.get_single_instance(input_dict["anomalies"])
        found = []
        for split in artifact_utils.decode_split_names(artifact.split_names):
            uri = artifact_utils.get_split_uri([artifact], split)
            with fileio.open(f"{uri}/{ANOMALIES_FILE}", "rb") as file:
                anomalies = anomalies_pb2.Anomalies.FromString(file.read())
            found += [f"split {split}: {text}" for text in describe(anomalies)]
        if found:
            raise UserError(
                f"the data does not fit the schema (pipeline/schema/schema.pbtxt): {'; '.join(found)}. "
                "Fix the dataset, or the schema if the data is right"
            )


def describe(anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """The anomalies in words, one line a feature, in the order of the features' names."""
    lines = [f"{name}: {' '.join(info.description.split()).rstrip('.')}" for name, info in sorted(anomalies.anomaly_info.items())]
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(" ".join(anomalies.dataset_anomaly_info.description.split()).rstrip("."))
    if anomalies.data_missing:
        lines.append("no examples at all")
    return lines
