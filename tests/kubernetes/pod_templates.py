# SPDX-License-Identifier: Apache-2.0
"""The pods that come of manifests, made by whoever makes them in a cluster: a controller, Flink's operator, KServe."""

from collections.abc import Iterable, Iterator

from api import Manifest

PREDICTOR_OF_POD = ("automountServiceAccountToken", "securityContext", "serviceAccountName", "volumes")


def pods(objects: Iterable[Manifest]) -> Iterator[Manifest]:
    """A pod for each template in the objects."""
    objects = list(objects)
    for thing in objects:
        for number, template in enumerate(_templates(thing, objects)):
            name = f"{thing['metadata']['name']}-{thing['kind'].lower()}-{number}"
            metadata = {**template.get("metadata", {}), "name": name, "namespace": thing["metadata"].get("namespace", "default")}
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _templates(thing: Manifest, objects: list[Manifest]) -> Iterator[Manifest]:
    match thing["kind"]:
        case "Deployment" | "StatefulSet" | "DaemonSet" | "Job":
            yield thing["spec"]["template"]
        case "CronJob":
            yield thing["spec"]["jobTemplate"]["spec"]["template"]
        case "FlinkDeployment":
            yield from (_flink_template(thing["spec"], role) for role in ("jobManager", "taskManager"))
        case "InferenceService":
            yield _kserve_template(thing["spec"]["predictor"], objects)


def _flink_template(spec: Manifest, role: str) -> Manifest:
    template = spec[role]["podTemplate"]
    containers = [{"image": spec["image"], **container} for container in template["spec"]["containers"]]
    return {**template, "spec": {**template["spec"], "serviceAccountName": spec["serviceAccount"], "containers": containers}}


def _kserve_template(predictor: Manifest, objects: list[Manifest]) -> Manifest:
    name = predictor["model"]["runtime"]
    (runtime,) = (one for one in objects if one["kind"] == "ServingRuntime" and one["metadata"]["name"] == name)
    own = {key: predictor[key] for key in PREDICTOR_OF_POD if key in predictor}
    volumes = [*runtime["spec"].get("volumes", []), *own.pop("volumes", [])]
    spec = {**own, "containers": runtime["spec"]["containers"], "volumes": volumes}
    return {"metadata": {"labels": predictor.get("labels", {})}, "spec": spec}
