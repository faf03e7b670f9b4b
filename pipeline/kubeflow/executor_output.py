# SPDX-License-Identifier: Apache-2.0
"""What TFX's entrypoint wrote about a step's outputs, made into what Kubeflow's launcher expects."""

from pathlib import Path
from typing import Any

from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils

from pipeline.kubeflow.executor_input import NUM_FILES, count_files
from pipeline.kubeflow.uris import remote_uri


def adapt_output(executor_output: dict[str, Any], executor_input: dict[str, Any]) -> None:
    """Changes an ExecutorOutput in place: artifacts have the URIs that Kubeflow gave them, and metadata that it can store.

    With a path for a URI the launcher would upload nothing, and say so only in a warning.

    Args:
        executor_output: TFX's ExecutorOutput, as JSON.
        executor_input: the ExecutorInput that the step was started with, as JSON.
    """
    names = _names_by_id(executor_input)
    for listed in executor_input.get("outputs", {}).get("artifacts", {}).values():
        for artifact in listed["artifacts"]:
            # A launcher without ML Metadata takes what is not there for an error, and a step may have nothing to say.
            if remote_uri(artifact["uri"]) != artifact["uri"] and not Path(artifact["uri"]).exists():
                Path(artifact["uri"]).mkdir(parents=True)
    for listed in executor_output.get("artifacts", {}).values():
        for artifact in listed["artifacts"]:
            metadata = {key: _storable(value, names) for key, value in artifact.get("metadata", {}).items() if value is not None}
            if (uri := remote_uri(artifact["uri"])) != artifact["uri"]:
                metadata[NUM_FILES] = count_files(Path(artifact["uri"]))
            artifact.update(uri=uri, metadata=metadata)


def _storable(value: Any, names: dict[float, str]) -> Any:
    """Executors note paths of other artifacts, and ids that TFX's entrypoint made up from Kubeflow's."""
    if isinstance(value, str):
        return remote_uri(value)
    return names.get(value, value) if isinstance(value, float) else value


def _names_by_id(executor_input: dict[str, Any]) -> dict[float, str]:
    """Kubeflow's id of each input artifact by TFX's: a hash of 63 bits, of which a JSON number keeps 53."""
    lists = executor_input.get("inputs", {}).get("artifacts", {}).values()
    names = [artifact["name"] for listed in lists for artifact in listed["artifacts"]]
    return {float(kubeflow_v2_entrypoint_utils._get_hashed_id(name, {})): name for name in names}
