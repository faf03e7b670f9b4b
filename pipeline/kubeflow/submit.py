# SPDX-License-Identifier: Apache-2.0
"""Uploads a compiled pipeline and starts a run of it."""

import datetime
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp_server_api import (
    V2beta1Experiment,
    V2beta1Pipeline,
    V2beta1PipelineVersionReference,
    V2beta1Run,
    V2beta1RuntimeConfig,
)

from beam_jobs import yaml_text
from beam_jobs.command_line import command
from beam_jobs.console import say
from beam_jobs.errors import UserError
from pipeline.kubeflow.client import Kubeflow, NoAnswer, user_errors

_NUMBERS = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float}


def submit(
    package: Path,
    kubeflow: Kubeflow,
    *,
    name: str | None = None,
    experiment: str = "audio-gender",
    service_account: str | None = None,
    parameters: Mapping[str, str] | None = None,
) -> str:
    """Starts a run; a package that was uploaded before is not uploaded again.

    Args:
        package: what `audio-gender compile` wrote.
        kubeflow: where to.
        name: of the run; else the pipeline's with the time.
        experiment: under which Kubeflow lists the run; it is created where there is none.
        service_account: of the steps' pods; else the server's default.
        parameters: the run's own, as text.

    Returns:
        The run's id.

    Raises:
        UserError: the package or a parameter is not right, or Kubeflow refuses.
    """
    spec = _read(package)
    values = _values(spec, parameters or {})
    pipeline = spec["pipelineInfo"]["name"]
    with user_errors(str(package)):
        version = _version(kubeflow, package, pipeline)
    with user_errors(f"--experiment {experiment}"):
        experiment_id = _experiment(kubeflow, experiment)
    run = V2beta1Run(
        display_name=name or f"{pipeline} {datetime.datetime.now():%Y-%m-%d %H:%M:%S}",
        experiment_id=experiment_id,
        pipeline_version_reference=version,
        # Kubeflow does not read the package's own defaultPipelineRoot.
        runtime_config=V2beta1RuntimeConfig(parameters=values, pipeline_root=spec.get("defaultPipelineRoot")),
        service_account=service_account,
    )
    try:
        with user_errors(str(package)):
            run_id: str = kubeflow.client.runs.run_service_create_run(run=run).run_id
    except UserError as error:
        if isinstance(error.__cause__, NoAnswer):
            raise UserError(f"{error}; the run may have started anyway: check {kubeflow.host} first") from None
        raise
    return run_id


def _read(package: Path) -> dict[str, Any]:
    try:
        # Two documents: pipeline spec and platform spec.
        documents = yaml_text.parse_all(yaml_text.read_file(package, f"`{_compile(package)}` writes it"))
    except yaml_text.YamlError:
        documents = []
    for document in documents:
        if isinstance(document, dict) and "pipelineInfo" in document and "root" in document:
            return document
    raise UserError(f"{package}: is not a compiled pipeline; `{_compile(package)}` writes one")


def _compile(package: Path) -> str:
    return command("compile", "--config", "FILE", "--image", "NAME@DIGEST", "-o", package)


def _values(spec: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    missing = [key for key, definition in known.items() if not definition.get("isOptional") and key not in parameters]
    if missing:
        raise UserError(f"parameter {missing[0]} is required: --set {missing[0]}=… ({known[missing[0]].get('description', '')})")
    values: dict[str, Any] = {}
    for key, text in parameters.items():
        if key not in known:
            raise UserError(f"parameter {key}: this pipeline has no such parameter; it has {', '.join(sorted(known)) or 'none'}")
        number = _NUMBERS.get(known[key]["parameterType"], str)
        try:
            values[key] = number(text)
        except ValueError:
            raise UserError(f"parameter {key}: {text!r} is not a number") from None
        allowed = known[key].get("literals", [])
        if allowed and values[key] not in allowed:
            raise UserError(f"parameter {key}: {text!r} is not one of {', '.join(map(str, allowed))}")
    return values


def _version(kubeflow: Kubeflow, package: Path, pipeline: str) -> V2beta1PipelineVersionReference:
    pipelines = kubeflow.client.pipelines
    found = pipelines.pipeline_service_list_pipelines(namespace=kubeflow.user_namespace, filter=_named(pipeline)).pipelines
    if found:
        pipeline_id = found[0].pipeline_id
    else:
        new = V2beta1Pipeline(name=pipeline, display_name=pipeline, namespace=kubeflow.user_namespace)
        pipeline_id = pipelines.pipeline_service_create_pipeline(pipeline=new).pipeline_id
    digest = hashlib.sha256(package.read_bytes()).hexdigest()[:12]
    version_name = f"{pipeline}-{digest}"
    versions = pipelines.pipeline_service_list_pipeline_versions(pipeline_id, filter=_named(version_name)).pipeline_versions
    if versions:
        say(f"already uploaded: {pipeline}, version {version_name}")
        version = versions[0]
    else:
        uploads = kubeflow.client.pipeline_uploads
        version = uploads.upload_pipeline_version(str(package), name=version_name, pipelineid=pipeline_id)
        say(f"uploaded: {pipeline}, version {version_name}")
    return V2beta1PipelineVersionReference(pipeline_id=pipeline_id, pipeline_version_id=version.pipeline_version_id)


def find_experiment(kubeflow: Kubeflow, name: str) -> str | None:
    """The id of an experiment; None where there is none of that name. Raises what the client raises."""
    found = kubeflow.client.experiments.experiment_service_list_experiments(
        namespace=kubeflow.user_namespace, filter=_named(name)
    ).experiments
    return str(found[0].experiment_id) if found else None


def _experiment(kubeflow: Kubeflow, name: str) -> str:
    if there := find_experiment(kubeflow, name):
        return there
    new = V2beta1Experiment(display_name=name, namespace=kubeflow.user_namespace)
    created = kubeflow.client.experiments.experiment_service_create_experiment(experiment=new)
    say(f"created experiment {name}")
    return str(created.experiment_id)


def _named(name: str) -> str:
    """Kubeflow's filter for things of that name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]})
