"""What of Kubeflow Pipelines 2.17.0 a step can notice: driver, launcher, cache and metadata store, in one process without a cluster.

Each step is the container's own command line as a process, with the environment of its platform spec, in an empty folder that
stands for the container's `/`. Written after reading backend/src/v2 (driver/container.go, driver/resolve.go, driver/driver.go,
component/launcher_v2.go, metadata/converter.go, metadata/client.go, cacheutils/cache.go); line by line what is done here is done there.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml
from object_store import ObjectStore

ROOT = Path(__file__).parents[2]
PIPELINE_ROOT = "minio://mlpipeline/v2/artifacts"
Json = dict[str, Any]


class DriverError(Exception):
    """What Kubeflow's driver or launcher refuses; no fault of the step's program."""


@dataclass(frozen=True)
class StoredArtifact:
    """An artifact as the metadata store has it: all of its metadata are custom properties."""

    id: int
    uri: str
    metadata: Json


@dataclass
class Step:
    """What became of one task: `succeeded`, `cached`, `failed` or `omitted`."""

    state: str
    log: str = ""
    status: int = 0
    termination_message: str = ""
    executor_input: Json = field(default_factory=dict)
    outputs: dict[str, StoredArtifact] = field(default_factory=dict)


@dataclass
class Run:
    """One run of a pipeline."""

    id: str
    steps: dict[str, Step] = field(default_factory=dict)

    def states(self) -> dict[str, str]:
        return {name: step.state for name, step in self.steps.items()}


class Kubeflow:
    """Runs compiled pipelines, one step after the other.

    Args:
        folder: everything is kept below it.
        secrets: values of secrets, by secret and key.
    """

    def __init__(self, folder: Path, secrets: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.folder = folder
        self.store = ObjectStore(folder / "object store")
        self.secrets = secrets or {}
        self._artifacts: list[StoredArtifact] = []
        self._cache: dict[str, dict[str, StoredArtifact]] = {}

    def run(self, compiled: str, parameters: Json | None = None) -> Run:
        """Runs a compiled pipeline: YAML, the pipeline spec, and where there is one the platform spec as a second document."""
        documents = [document for document in yaml.safe_load_all(compiled) if document]
        spec = documents[0].get("pipelineSpec", documents[0])
        platform = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if documents[1:] else {}
        run = Run(str(uuid.uuid4()))
        values = _run_parameters(spec["root"], parameters or {})
        tasks = spec["root"]["dag"]["tasks"]
        for name in TopologicalSorter({name: task.get("dependentTasks", []) for name, task in tasks.items()}).static_order():
            if any(run.steps[other].state in ("failed", "omitted") for other in tasks[name].get("dependentTasks", [])):
                run.steps[name] = Step("omitted")
                continue
            component = spec["components"][tasks[name]["componentRef"]["name"]]
            label = component["executorLabel"]
            container = spec["deploymentSpec"]["executors"][label]["container"]
            task = _Task(name, tasks[name], component, container, platform.get(label, {}))
            run.steps[name] = self._step(spec["pipelineInfo"]["name"], run, task, values)
        return run

    def _step(self, pipeline: str, run: Run, task: "_Task", values: Json) -> Step:
        executor_input = {"inputs": _resolve_inputs(task, run, values), "outputs": _provision_outputs(pipeline, run.id, task)}
        key = _fingerprint(task, executor_input)
        enabled = task.spec.get("cachingOptions", {}).get("enableCache", False)
        if enabled and key in self._cache:
            return Step("cached", executor_input=executor_input, outputs=self._cache[key])
        step = self._launch(run, task, executor_input)
        if enabled and step.state == "succeeded":
            self._cache[key] = step.outputs
        return step

    def _launch(self, run: Run, task: "_Task", executor_input: Json) -> Step:
        container_root = self.folder / "containers" / f"{run.id}-{task.name}"
        for artifact in _artifacts(executor_input["inputs"]).values():
            self.store.download(artifact["uri"], _mirror(container_root, artifact["uri"]))
        for artifact in _artifacts(executor_input["outputs"]).values():
            _mirror(container_root, artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)
        executor_input["outputs"]["outputFile"] = f"{container_root}{executor_input['outputs']['outputFile']}"
        termination_log = container_root / "dev/termination-log"
        termination_log.parent.mkdir(parents=True)
        termination_log.touch()
        done = subprocess.run(
            _command_line(task.container, executor_input),
            cwd=ROOT,  # the image's working directory, /app
            env=self._environment(task, run.id, container_root),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1200,
        )
        step = Step("failed", done.stdout, done.returncode, termination_log.read_text(), executor_input)
        if done.returncode == 0:
            step.state, step.outputs = "succeeded", self._publish(executor_input, container_root)
        shutil.rmtree(container_root)
        return step

    def _environment(self, task: "_Task", run_id: str, container_root: Path) -> dict[str, str]:
        (container_root / "tmp").mkdir(parents=True)
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "HOME": f"{container_root}/tmp",
            "CONTAINER_ROOT": str(container_root),
        }
        environment |= {variable["name"]: variable["value"] for variable in task.container.get("env", [])}
        for secret in task.platform.get("secretAsEnv", []):
            values = self.secrets[secret.get("secretName") or secret["secretNameParameter"]["runtimeValue"]["constant"]]
            environment |= {entry["envVar"]: values[entry["secretKey"]] for entry in secret["keyToEnv"]}
        for entry in task.platform.get("fieldPathAsEnv", []):
            labels = {"metadata.labels['pipeline/runid']": run_id}
            environment[entry["name"]] = labels[entry["fieldPath"]]
        return environment

    def _publish(self, executor_input: Json, container_root: Path) -> dict[str, StoredArtifact]:
        output_file = Path(executor_input["outputs"]["outputFile"])
        written = json.loads(output_file.read_text()) if output_file.exists() else {}
        published = {}
        for name, artifact in _artifacts(executor_input["outputs"]).items():
            listed = written.get("artifacts", {}).get(name, {}).get("artifacts", [{}])[0]
            uri = listed.get("uri") or artifact["uri"]
            if not uri.startswith(PIPELINE_ROOT):
                # The launcher only warns, and the next step finds nothing.
                raise DriverError(f"output {name}: {uri} is not under {PIPELINE_ROOT}, so nothing is uploaded")
            self.store.upload(_mirror(container_root, uri), uri)
            metadata = {key: _stored(value) for key, value in {**artifact.get("metadata", {}), **listed.get("metadata", {})}.items()}
            stored = StoredArtifact(
                id=len(self._artifacts) + 1,
                uri=uri,
                metadata={"display_name": name, "store_session_info": '{"Provider":"minio"}', **metadata},
            )
            self._artifacts.append(stored)
            published[name] = stored
        return published


@dataclass(frozen=True)
class _Task:
    name: str
    spec: Json
    component: Json
    container: Json
    platform: Json


def _run_parameters(root: Json, given: Json) -> Json:
    """Values of the pipeline's own parameters."""
    declared = root.get("inputDefinitions", {}).get("parameters", {})
    if unknown := set(given) - set(declared):
        raise DriverError(f"no such parameters: {sorted(unknown)}; there are {sorted(declared)}")
    values = {name: parameter["defaultValue"] for name, parameter in declared.items() if "defaultValue" in parameter}
    values |= given
    if missing := set(declared) - set(values):
        raise DriverError(f"parameters without a value: {sorted(missing)}")
    return values


def _resolve_inputs(task: _Task, run: Run, values: Json) -> Json:
    if "triggerPolicy" in task.spec:
        raise DriverError(f"{task.name}: trigger policies are not played here")
    inputs = task.spec.get("inputs", {})
    parameters = {
        name: values[given["componentInputParameter"]] if "componentInputParameter" in given else given["runtimeValue"]["constant"]
        for name, given in inputs.get("parameters", {}).items()
    }
    for name, declared in task.component.get("inputDefinitions", {}).get("parameters", {}).items():
        if name in parameters:
            parameters[name] = _of_type(name, parameters[name], declared["parameterType"])
        elif "defaultValue" in declared:
            parameters[name] = declared["defaultValue"]
        elif not declared.get("isOptional"):
            raise DriverError(f"{task.name}: neither value nor default value provided for non-optional parameter {name}")
    artifacts = {}
    for name, given in inputs.get("artifacts", {}).items():
        producer = given["taskOutputArtifact"]
        stored = run.steps[producer["producerTask"]].outputs[producer["outputArtifactKey"]]
        # Of the type, only an empty schema comes back from the metadata store.
        runtime = {"name": str(stored.id), "type": {"instanceSchema": ""}, "uri": stored.uri, "metadata": stored.metadata}
        artifacts[name] = {"artifacts": [runtime]}
    return {key: value for key, value in (("parameterValues", parameters), ("artifacts", artifacts)) if value}


def _of_type(name: str, value: Any, declared: str) -> Any:
    """Kubeflow makes texts of everything where a text is declared, and refuses any other difference."""
    kinds = {"NUMBER_INTEGER": float, "NUMBER_DOUBLE": float, "BOOLEAN": bool, "LIST": list, "STRUCT": dict}
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value)  # google.protobuf.Value knows no integers
    if declared == "STRING":
        if isinstance(value, str):
            return value
        return f"{value:.15g}" if isinstance(value, float) else json.dumps(value)
    if not isinstance(value, kinds[declared]):
        raise DriverError(f"input parameter {name} type mismatch: expect {declared}, got {value!r}")
    return value


def _provision_outputs(pipeline: str, run_id: str, task: _Task) -> Json:
    task_root = f"{PIPELINE_ROOT}/{pipeline}/{run_id}/{task.name}/{uuid.uuid4()}"
    declared = task.component.get("outputDefinitions", {}).get("artifacts", {})
    artifacts = {}
    for name, output in declared.items():
        runtime = {"name": name, "type": output["artifactType"], "uri": f"{task_root}/{name}"}
        artifacts[name] = {"artifacts": [{**runtime, **{key: output[key] for key in ("metadata",) if key in output}}]}
    outputs: Json = {"outputFile": str(_mirror(Path("/"), task_root) / "output_metadata.json")}
    return {**outputs, "artifacts": artifacts} if artifacts else outputs


def _fingerprint(task: _Task, executor_input: Json) -> str:
    """Kubeflow's cache key. Of inputs it knows the artifacts' ids, of volumes their claims' names."""
    outputs = {
        name: {key: artifact[key] for key in ("name", "type", "metadata") if key in artifact}
        for name, artifact in _artifacts(executor_input["outputs"]).items()
    }
    key = [
        {name: artifact["name"] for name, artifact in _artifacts(executor_input["inputs"]).items()},
        executor_input["inputs"].get("parameterValues", {}),
        outputs,
        [*task.container.get("command", []), *task.container.get("args", [])],
        task.container["image"],
        sorted(str(mount) for mount in task.platform.get("pvcMount", [])),
    ]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def _command_line(container: Json, executor_input: Json) -> list[str]:
    parameters = executor_input["inputs"].get("parameterValues", {})

    def text(found: re.Match[str]) -> str:
        value = parameters[found[1]]
        return str(_of_type(found[1], value, "STRING"))

    line = []
    for argument in [*container.get("command", []), *container.get("args", [])]:
        resolved = re.sub(r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}", text, argument)
        line.append(resolved.replace("{{$}}", json.dumps(executor_input)))
    return line


def _artifacts(part: Json) -> dict[str, Json]:
    return {name: listed["artifacts"][0] for name, listed in part.get("artifacts", {}).items()}


def _mirror(root: Path, uri: str) -> Path:
    """Where the launcher keeps an artifact in a container."""
    scheme, _, key = uri.partition("://")
    return root / {"minio": "minio", "s3": "s3", "gs": "gcs"}[scheme] / key


def _stored(value: Any) -> Any:
    """A metadata value as the store keeps it and gives it back: lists and structs wrapped, numbers as doubles, no null."""
    if value is None:
        raise DriverError("unable to produce MLMD artifact: unknown/unsupported value type NullValue")
    if isinstance(value, bool | int):
        return float(value)
    if isinstance(value, list):
        return {"list": value}
    return {"struct": value} if isinstance(value, dict) else value
