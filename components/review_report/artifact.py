# SPDX-License-Identifier: Apache-2.0
"""The report's artifact type, named and stored so that Kubeflow Pipelines' UI shows the page.

The UI draws an artifact whose type is `system.HTML`, whose URI is the page itself and not a folder, and which has a
`display_name` (kubeflow/pipelines, frontend/src/components/viewers/MetricsVisualizations.tsx). TFX writes a custom type's
name into the pipeline's IR as it is, and takes it for the path of a Python class when a component starts: `register` says where
the class is.
"""

from tfx.orchestration.kubeflow.v2 import compiler_utils
from tfx.types import Artifact
from tfx.types.value_artifact import ValueArtifact


class Report(ValueArtifact):
    """One HTML file. TFX gives a ValueArtifact a file for its URI, and others a folder."""

    TYPE_NAME = "system.HTML"

    def encode(self, value: str) -> bytes:
        """The file's bytes."""
        return value.encode()

    def decode(self, serialized_value: bytes) -> str:
        """The page."""
        return serialized_value.decode()


def register() -> None:
    """Makes TFX's entrypoint on Kubeflow find `Report`; to be called there before it reads its arguments."""
    compiler_utils.TITLE_TO_CLASS_PATH[Report.TYPE_NAME] = f"{Report.__module__}.{Report.__qualname__}"


def write_report(artifact: Artifact, page: str) -> None:
    """Stores the page, under the name that Kubeflow's UI shows."""
    artifact.value = page
    artifact.set_string_custom_property("display_name", "review report")
