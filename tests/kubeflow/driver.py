# SPDX-License-Identifier: Apache-2.0
"""What of Kubeflow Pipelines a step can notice, in one process and without a cluster: it walks a compiled pipeline.

Each step is the container's own command line as a process, with the environment of its platform spec. Written after reading
backend/src/v2/driver (container.go, resolve.go, driver.go) and cacheutils/cache.go of kubeflow/pipelines 2.17.0.
"""

import hashlib
import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml
from launcher import LOGS, Json, KubeflowError, Launcher, Step, StoredArtifact, artifacts, as_text, mirror

KINDS = {"NUMBER_INTEGER": float, "NUMBER_DOUBLE": float, "BOOLEAN": bool, "LIST": list, "STRUCT": dict}


@dataclass
class Run:
    """One run of a pipeline; `ml_metadata` is whether Kubeflow keeps what its steps make there, or in tables of its own."""

    id: str
    ml_metadata: bool = True
    steps: dict[str, Step] = field(default_factory=dict)

    def states(self) -> dict[str, str]:
        return {name: step.state for name, step in self.steps.items()}


@dataclass(frozen=True)
class Task:
    """One task of a pipeline with all that the compiled documents say of it."""

    name: str
    spec: Json
    component: Json
    container: Json
    platform: Json


class Kubeflow:
    """Runs compiled pipelines, one step after the other.

    Args:
        folder: everything is kept below it.
        pipeline_root: where artifacts go, as `submit` asks for it; Kubeflow ignores that of the compiled pipeline.
        image_files: where files of the image are on this machine, by the beginnings of their paths.
        secrets: values of secrets, by secret and key.
    """

    def __init__(
        self, folder: Path, pipeline_root: str, image_files: Mapping[str, str], secrets: Mapping[str, Mapping[str, str]]
    ) -> None:
        self._pipeline_root = pipeline_root
        self._image_files = image_files
        self._secrets = secrets
        self._launcher = Launcher(folder)
        self._cache: dict[str, Step] = {}

    @property
    def store(self):
        """The object store, to be looked at."""
        return self._launcher.store

    def run(
        self, compiled: str, parameters: Json, earlier: Run | None = None, only: Collection[str] = (), ml_metadata: bool = True
    ) -> Run:
        """Runs a compiled pipeline: pipeline spec and platform spec as two YAML documents.

        With `earlier`, the nodes of `only` are run, and the others' outputs are those of that run, as from the cache.
        """
        spec, platform = yaml.safe_load_all(compiled)
        executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        values = _pipeline_parameters(spec["root"], parameters)
        run = Run(str(uuid.uuid4()), ml_metadata)
        root = f"{self._pipeline_root}/{spec['pipelineInfo']['name']}/{run.id}"
        tasks = spec["root"]["dag"]["tasks"]
        after = {name: task.get("dependentTasks", []) for name, task in tasks.items()}
        for name in TopologicalSorter(after).static_order():
            if any(run.steps[other].state in ("failed", "omitted") for other in after[name]):
                run.steps[name] = Step("omitted")
            elif earlier and name not in only:
                run.steps[name] = Step("cached", outputs=earlier.steps[name].outputs, parameters=earlier.steps[name].parameters)
            else:
                component = spec["components"][tasks[name]["componentRef"]["name"]]
                label = component["executorLabel"]
                container = spec["deploymentSpec"]["executors"][label]["container"]
                task = Task(name, tasks[name], component, container, executors[label])
                run.steps[name] = self._step(root, run, task, values)
        return run

    def _step(self, root: str, run: Run, task: Task, values: Json) -> Step:
        executor_input = {"inputs": self._inputs(task, run, values), "outputs": _outputs(root, task)}
        key = _fingerprint(task, executor_input)
        cached = task.spec.get("cachingOptions", {}).get("enableCache", False)
        if cached and key in self._cache:
            return replace(self._cache[key], state="cached")
        name, environment = f"{run.id}-{task.name}", self._environment(task, run.id)
        step = self._launcher.launch(name, task.container, environment, executor_input, run.ml_metadata)
        if cached and step.state == "succeeded":
            self._cache[key] = step
        return step

    def _inputs(self, task: Task, run: Run, values: Json) -> Json:
        if "triggerPolicy" in task.spec:
            raise KubeflowError(f"{task.name}: trigger policies are not played here")
        given = task.spec.get("inputs", {})
        parameters = _parameters(task, run, values)
        for image_path, path in self._image_files.items():
            for name, value in parameters.items():
                if isinstance(value, str) and value.startswith(image_path):
                    parameters[name] = path + value.removeprefix(image_path)
        inputs: Json = {"parameterValues": parameters} if parameters else {}
        for name, spec in given.get("artifacts", {}).items():
            producer = spec["taskOutputArtifact"]
            stored = run.steps[producer["producerTask"]].outputs[producer["outputArtifactKey"]]
            artifact = (
                _with_ml_metadata(stored) if run.ml_metadata else _without_ml_metadata(stored, producer["outputArtifactKey"])
            )
            inputs.setdefault("artifacts", {})[name] = {"artifacts": [artifact]}
        return inputs

    def _environment(self, task: Task, run_id: str) -> dict[str, str]:
        environment = {variable["name"]: variable["value"] for variable in task.container.get("env", [])}
        for secret in task.platform.get("secretAsEnv", []):
            values = self._secrets[secret["secretNameParameter"]["runtimeValue"]["constant"]]
            environment |= {entry["envVar"]: values[entry["secretKey"]] for entry in secret["keyToEnv"]}
        fields = {"metadata.labels['pipeline/runid']": run_id}
        return environment | {entry["name"]: fields[entry["fieldPath"]] for entry in task.platform.get("fieldPathAsEnv", [])}


def _with_ml_metadata(stored: StoredArtifact) -> Json:
    """Of the type, only an empty schema comes back from the metadata store."""
    return {"name": str(stored.id), "type": {"instanceSchema": ""}, "uri": stored.uri, "metadata": stored.metadata}


def _without_ml_metadata(stored: StoredArtifact, output: str) -> Json:
    """From tables of Kubeflow's own: branch mlmd-removal of 2026-07-31, driver/container.go, convertArtifactToRuntimeArtifact."""
    wrapped = ({"list"}, {"struct"})
    metadata = {
        key: next(iter(value.values())) if isinstance(value, dict) and set(value) in wrapped else value
        for key, value in stored.metadata.items()
    }
    return {
        "name": output,
        "artifactId": str(stored.id),
        "type": {"schemaTitle": "Artifact"},
        "uri": stored.uri,
        "metadata": metadata,
    }


def _pipeline_parameters(root: Json, given: Json) -> Json:
    declared = root.get("inputDefinitions", {}).get("parameters", {})
    if unknown := set(given) - set(declared):
        raise KubeflowError(f"no such parameters: {sorted(unknown)}; there are {sorted(declared)}")
    values = {name: parameter["defaultValue"] for name, parameter in declared.items() if "defaultValue" in parameter} | given
    for name, parameter in declared.items():
        if name not in values:
            raise KubeflowError(f"parameter {name} is required")
        if parameter.get("literals") and values[name] not in parameter["literals"]:
            raise KubeflowError(f"parameter {name}: {values[name]!r} is none of {parameter['literals']}")
    return values


def _parameters(task: Task, run: Run, values: Json) -> Json:
    """A task's parameters: constants, the pipeline's, other tasks', and defaults; each of the type that is declared."""
    parameters = {}
    for name, given in task.spec.get("inputs", {}).get("parameters", {}).items():
        if "componentInputParameter" in given:
            parameters[name] = values[given["componentInputParameter"]]
        elif "taskOutputParameter" in given:
            producer = given["taskOutputParameter"]
            parameters[name] = run.steps[producer["producerTask"]].parameters[producer["outputParameterKey"]]
        else:
            parameters[name] = given["runtimeValue"]["constant"]
    for name, declared in task.component.get("inputDefinitions", {}).get("parameters", {}).items():
        if name not in parameters and "defaultValue" in declared:
            parameters[name] = declared["defaultValue"]
        if name in parameters:
            parameters[name] = _of_type(name, parameters[name], declared["parameterType"])
        elif not declared.get("isOptional"):
            raise KubeflowError(f"{task.name}: neither value nor default value provided for non-optional parameter {name}")
    return parameters


def _of_type(name: str, value: Any, declared: str) -> Any:
    """Kubeflow makes texts of everything where a text is declared, and refuses any other difference."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value)  # google.protobuf.Value knows no integers
    if declared == "STRING":
        return as_text(value)
    if not isinstance(value, KINDS[declared]):
        raise KubeflowError(f"input parameter {name} type mismatch: expect {declared}, got {value!r}")
    return value


def _outputs(root: str, task: Task) -> Json:
    task_root = f"{root}/{task.name}/{uuid.uuid4()}"
    outputs: Json = {"outputFile": str(mirror(Path("/"), task_root) / "output_metadata.json")}
    declared_artifacts = task.component.get("outputDefinitions", {}).get("artifacts", {})
    # Every step gets one output more where the driver has PUBLISH_LOGS, as in Kubeflow's own manifests.
    logs = {LOGS: {"artifactType": {"schemaTitle": "system.Artifact"}}}
    for name, declared in (declared_artifacts | logs).items():
        artifact = {"name": name, "type": declared["artifactType"], "uri": f"{task_root}/{name}"}
        if "metadata" in declared:
            artifact["metadata"] = declared["metadata"]
        outputs.setdefault("artifacts", {})[name] = {"artifacts": [artifact]}
    for name in task.component.get("outputDefinitions", {}).get("parameters", {}):
        outputs.setdefault("parameters", {})[name] = {"outputFile": f"/tmp/kfp/outputs/{name}"}
    return outputs


def _fingerprint(task: Task, executor_input: Json) -> str:
    """Kubeflow's cache key. Of inputs it knows the artifacts' ids, of volumes their claims' names."""
    outputs = {
        name: {key: artifact[key] for key in ("name", "type", "metadata") if key in artifact}
        for name, artifact in artifacts(executor_input["outputs"]).items()
    }
    key = [
        {name: artifact["name"] for name, artifact in artifacts(executor_input["inputs"]).items()},
        executor_input["inputs"].get("parameterValues", {}),
        outputs,
        sorted(executor_input["outputs"].get("parameters", {})),
        [*task.container.get("command", []), *task.container.get("args", [])],
        task.container["image"],
        sorted(str(mount) for mount in task.platform.get("pvcMount", [])),
    ]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
