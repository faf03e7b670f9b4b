# SPDX-License-Identifier: Apache-2.0
"""What Kubeflow hands to a step, made into what TFX's executors expect."""

from pathlib import Path
from typing import Any

from beam_jobs.errors import UserError
from pipeline.kubeflow.uris import local_path

NUM_FILES = "num_files"
"""Metadata of every artifact that a step made: how many files the next one must find."""


def adapt_input(executor_input: dict[str, Any], inputs_spec: dict[str, Any]) -> None:
    """Changes an ExecutorInput in place: artifacts lie where the launcher mirrors them, inputs have types, outputs are TFX's.

    Args:
        executor_input: Kubeflow's ExecutorInput, as JSON.
        inputs_spec: the component's ComponentInputsSpec, as JSON, which names the type of each input.

    Raises:
        UserError: files of an input artifact are gone.
    """
    for name, artifact in _artifacts(executor_input.get("inputs", {})):
        # TFX has no class for what Kubeflow says an input is. With ML Metadata the schema is empty (tensorflow/tfx#7768, open;
        # kubeflow/pipelines, backend/src/v2/metadata/client.go, Schema: ""); without it, it is a title of Kubeflow's own or of
        # the whole schema (backend/src/v2/driver/container.go, convertArtifactToRuntimeArtifact).
        artifact["type"] = inputs_spec["artifacts"][name]["artifactType"]
        # TFX knows artifacts by their names. With ML Metadata that is an id; without it, it is the output's, the same for the
        # candidate and the model in serving, and the id is beside it.
        artifact["name"] = artifact.pop("artifactId", "") or artifact["name"]
        artifact["metadata"] = {key: _unwrapped(value) for key, value in artifact.get("metadata", {}).items()}
        _require_files(name, artifact)
        artifact["uri"] = local_path(artifact["uri"])
    outputs = executor_input.get("outputs", {})
    if "artifacts" in outputs:
        outputs["artifacts"] = {name: listed for name, listed in outputs["artifacts"].items() if not _is_of_kubeflow(listed)}
    for _, artifact in _artifacts(outputs):
        artifact["uri"] = local_path(artifact["uri"])


def _is_of_kubeflow(listed: dict[str, Any]) -> bool:
    """Whether Kubeflow added an output, which TFX cannot build for want of a class of that name.

    With PUBLISH_LOGS, which Kubeflow's manifests turn on, the driver gives every step an output `executor-logs`, and the launcher
    fills it (kubeflow/pipelines, backend/src/v2/driver, provisionOutputs).
    """
    return any(artifact.get("type", {}).get("schemaTitle") == "system.Artifact" for artifact in listed["artifacts"])


def _artifacts(part: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, artifact) for name, listed in part.get("artifacts", {}).items() for artifact in listed["artifacts"]]


def _unwrapped(value: Any) -> Any:
    """Kubeflow stores a list as `{"list": …}` and a struct as `{"struct": …}` (metadata/converter.go), and hands them back so."""
    if isinstance(value, dict) and value.keys() in ({"list"}, {"struct"}):
        return next(iter(value.values()))
    return value


def _require_files(name: str, artifact: dict[str, Any]) -> None:
    """The launcher downloads what it finds, and nothing at all is no error to it; object stores know no empty folders."""
    expected, path = artifact["metadata"].get(NUM_FILES), Path(local_path(artifact["uri"]))
    if expected is None:  # not mirrored, or not made by a step
        return
    found = count_files(path)
    if found < expected:
        raise UserError(
            f"input {name}: only {found} of {expected:.0f} files are left at {artifact['uri']}; "
            "the others were deleted from the object store: start the run again without the cache"
        )
    if expected == 0:
        path.mkdir(parents=True, exist_ok=True)


def count_files(path: Path) -> int:
    """How many files an artifact has: one file, or those of a folder and all folders below it.

    Raises:
        OSError: a folder cannot be read.
    """
    if not path.is_dir():
        return int(path.exists())
    return sum(count_files(entry) for entry in path.iterdir())
