# SPDX-License-Identifier: Apache-2.0
"""What Kubeflow's launcher does inside a step's container: download, run the command, upload, and record the outputs.

Written after reading backend/src/v2/component/launcher_v2.go, objectstore/object_store.go and metadata/converter.go of
kubeflow/pipelines 2.17.0.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]
LOGS = "executor-logs"
"""The output artifact into which the launcher itself writes what a step prints."""
ROOT = Path(__file__).parents[2]


class KubeflowError(Exception):
    """What Kubeflow itself refuses, or passes over in silence; no fault of the step's program."""


class ObjectStore:
    """An object store in a folder: `minio://bucket/key` is the file `root/minio/bucket/key`. It knows no empty folders."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, uri: str) -> Path:
        """Where to look at an object, or to spoil it."""
        return mirror(self._root, uri)

    def upload(self, source: Path, uri: str) -> None:
        """A file under this key, or the files of a folder under keys that begin with it; nothing where there is no source."""
        for file in [source] if source.is_file() else sorted(entry for entry in source.rglob("*") if entry.is_file()):
            target = self.path(uri) / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)

    def download(self, uri: str, target: Path) -> None:
        """What is under this key; nothing where there is nothing."""
        source = self.path(uri)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


@dataclass(frozen=True)
class StoredArtifact:
    """An artifact as the metadata store has it: all of its metadata are custom properties."""

    id: int
    uri: str
    metadata: Json


@dataclass
class Step:
    """What became of one task: `succeeded`, `cached`, `failed` or `omitted`; what its pod's log shows; what it made."""

    state: str
    log: str = field(default="", repr=False)
    status: int = 0
    termination_message: str = ""
    outputs: dict[str, StoredArtifact] = field(default_factory=dict)
    parameters: Json = field(default_factory=dict)


class Launcher:
    """Runs steps as processes.

    Args:
        folder: a new folder in it stands for the `/` of each container.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.store = ObjectStore(folder / "object-store")
        self._num_artifacts = 0

    def launch(
        self, name: str, container: Json, environment: dict[str, str], executor_input: Json, ml_metadata: bool = True
    ) -> Step:
        """Runs one step.

        Raises:
            KubeflowError: the step succeeded, and Kubeflow could not take over what it made.
        """
        root = self._folder / "containers" / name
        termination_log = root / "dev/termination-log"
        for folder in (termination_log.parent, root / "tmp"):
            folder.mkdir(parents=True)
        termination_log.touch()
        for artifact in artifacts(executor_input["inputs"]).values():
            self.store.download(artifact["uri"], mirror(root, artifact["uri"]))
        for artifact in artifacts(executor_input["outputs"]).values():
            mirror(root, artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)
        executor_input["outputs"]["outputFile"] = f"{root}{executor_input['outputs']['outputFile']}"
        done = subprocess.run(
            _command_line(container, executor_input),
            cwd=ROOT,  # as /app, the image's working directory
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
                "HOME": f"{root}/tmp",
                "CONTAINER_ROOT": str(root),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
        )
        mirror(root, artifacts(executor_input["outputs"])[LOGS]["uri"]).write_text(done.stdout)
        step = Step("failed", done.stdout, done.returncode, termination_log.read_text())
        if done.returncode == 0:
            step.state, step.outputs = "succeeded", self._publish(executor_input["outputs"], root, ml_metadata)
            step.parameters = _output_parameters(executor_input["outputs"])
        shutil.rmtree(root)
        return step

    def _publish(self, outputs: Json, root: Path, ml_metadata: bool) -> dict[str, StoredArtifact]:
        written = _written(outputs)
        published = {}
        for name, artifact in artifacts(outputs).items():
            merged = artifacts(written).get(name, {})
            uri = merged.get("uri", artifact["uri"])
            if "://" not in uri:
                # The launcher warns of it in its log and goes on; the next step finds nothing.
                raise KubeflowError(f"output {name}: {uri} is no URI, so nothing is uploaded")
            if not ml_metadata and not mirror(root, uri).exists():
                raise KubeflowError(f"declared output artifact {name} is missing at {uri}")
            self.store.upload(mirror(root, uri), uri)
            metadata = {"display_name": name, "store_session_info": '{"Provider":"minio"}'}
            for key, value in {**artifact.get("metadata", {}), **merged.get("metadata", {})}.items():
                metadata[key] = _stored(value)
            self._num_artifacts += 1
            published[name] = StoredArtifact(self._num_artifacts, uri, metadata)
        return published


def _output_parameters(outputs: Json) -> Json:
    """What the step wrote into its output file; one that is declared and missing there the launcher looks for in a file."""
    written = _written(outputs).get("parameterValues", {})
    if missing := outputs.get("parameters", {}).keys() - written.keys():
        raise KubeflowError(f"failed to read output parameters {sorted(missing)}: no such file")
    return dict(written)


def _written(outputs: Json) -> Json:
    output_file = Path(outputs["outputFile"])
    return json.loads(output_file.read_text()) if output_file.exists() else {}


def artifacts(part: Json) -> dict[str, Json]:
    """The first artifact of each list, by name, as the launcher looks at it."""
    return {name: listed["artifacts"][0] for name, listed in part.get("artifacts", {}).items()}


def mirror(root: Path, uri: str) -> Path:
    """Where the launcher keeps an artifact in a container."""
    scheme, _, key = uri.partition("://")
    return root / {"minio": "minio", "s3": "s3", "gs": "gcs"}[scheme] / key


def as_text(value: Any) -> str:
    """A parameter as Kubeflow writes it where a text is asked for."""
    if isinstance(value, str):
        return value
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def _command_line(container: Json, executor_input: Json) -> list[str]:
    parameters = executor_input["inputs"].get("parameterValues", {})
    line = []
    for argument in [*container.get("command", []), *container.get("args", [])]:
        text = re.sub(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}", lambda found: as_text(parameters[found[1]]), argument)
        line.append(text.replace("{{$}}", json.dumps(executor_input)))
    return line


def _stored(value: Any) -> Any:
    """A metadata value as the store keeps it and gives it back: lists and structs wrapped, numbers as doubles, no null."""
    if value is None:
        raise KubeflowError("unable to produce MLMD artifact: unknown/unsupported value type NullValue")
    if isinstance(value, bool | int):
        return float(value)
    if isinstance(value, list):
        return {"list": value}
    return {"struct": value} if isinstance(value, dict) else value
