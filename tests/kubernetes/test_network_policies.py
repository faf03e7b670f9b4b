# SPDX-License-Identifier: Apache-2.0
"""Who talks to whom, and nobody else."""

from pathlib import Path

import pytest
from api import Manifest
from conversations import Peer, conversations, matches, selectors
from kustomize_tool import render
from overlays import FOLDER, OVERLAYS
from pod_templates import pods

from components.trainer.workers.kubernetes.objects import PORT, StepPod, training_job
from pipeline.kubeflow.config import KubernetesConfig
from pipeline.kubeflow.platform import CompiledNode as PipelineStep
from pipeline.kubeflow.platform import platform_spec

OUTSIDE = [
    Peer("dns", "kube-system", {"k8s-app": "kube-dns"}),
    Peer("metadata store", "kubeflow", {"component": "metadata-grpc-server"}),
    Peer("pipelines API", "kubeflow", {"app": "ml-pipeline"}),
    Peer("flink operator", "flink-operator", {"app.kubernetes.io/name": "flink-kubernetes-operator"}),
    Peer("client", "shop", {"audio-gender/client": "true"}),
    Peer("stranger", "shop", {"app": "shop"}),
    Peer("own network", "", address="172.18.0.2"),
    Peer("the cloud's metadata", "", address="169.254.169.254"),
    Peer("internet", "", address="203.0.113.7"),
]
SEAWEEDFS = Peer("seaweedfs", "kubeflow", {"app": "seaweedfs"})
STEPS = {"Trainer": "step", "ClipGenerator": "clip generator"}
OWN = {*STEPS.values(), "worker", "clips", "model-server", "retrain"}
FLINK_PODS = {"flink-jobmanager", "flink-taskmanager"}

EVERYWHERE = {
    *((name, "dns", 53) for name in OWN),
    # Kubeflow's launcher in the step's pod.
    *((name, "metadata store", 8080) for name in STEPS.values()),
    *((name, "pipelines API", port) for name in STEPS.values() for port in (8887, 8888)),
    # Argo's executor, for the step's log.
    *((name, "seaweedfs", port) for name in STEPS.values() for port in (8333, 9000)),
    # The API server.
    *((name, "own network", port) for name in STEPS.values() for port in (443, 6443)),
    ("worker", "worker", PORT),
    ("retrain", "pipelines API", 8888),
    ("client", "model-server", 8501),
}
FLINK = {
    *((name, "dns", 53) for name in FLINK_PODS),
    ("flink-taskmanager", "flink-jobmanager", 6123),
    ("flink-taskmanager", "flink-jobmanager", 6124),
    ("flink-jobmanager", "flink-taskmanager", 6122),
    ("flink-jobmanager", "flink-taskmanager", 6125),
    ("flink-taskmanager", "flink-taskmanager", 6121),
    ("clips", "flink-jobmanager", 8081),
    ("clip generator", "flink-jobmanager", 8081),
    ("flink operator", "flink-jobmanager", 8081),
}
OWN_OF = {"local": OWN, "production": OWN | FLINK_PODS, "kserve": OWN | FLINK_PODS}
ONLY_IN = {
    "local": {(name, "seaweedfs", 8333) for name in ("clips", "worker")},
    "production": {
        *FLINK,
        *((name, "internet", 443) for name in ("flink-taskmanager", "clips", "worker", *STEPS.values())),  # S3
        ("client", "model-server", 8500),  # gRPC
    },
}
ONLY_IN["kserve"] = ONLY_IN["production"]


def step_labels(node: str) -> dict[str, str]:
    """Of a pipeline step's pod: this project's and, at run time, Kubeflow's."""
    spec = platform_spec(KubernetesConfig(), [PipelineStep(node, node, "exec")])
    executor = spec["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec"]
    return {**executor["podMetadata"]["labels"], "pipeline/runid": "run"}


def worker_labels() -> dict[str, str]:
    """Of a training worker's pod, as the Trainer's step makes it."""
    container = {"name": "main", "image": "i", "volumeMounts": [{"name": "shared", "mountPath": "/training"}]}
    spec = {"containers": [container], "volumes": [{"name": "shared"}]}
    step = StepPod({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec}, {}, 1000, 1000)
    job = training_job(step, "training-run", 2, Path("/training/job.json"), 1, 2, 3)
    return dict(job["spec"]["template"]["metadata"]["labels"])


def own_pods(objects: list[Manifest]) -> list[Peer]:
    namespace = objects[0]["metadata"]["namespace"]
    labels = [pod["metadata"]["labels"] for pod in pods(objects)]
    known = [Peer(own["app.kubernetes.io/component"], namespace, own) for own in labels]
    return [
        *known,
        *(Peer(name, namespace, step_labels(node)) for node, name in STEPS.items()),
        Peer("worker", namespace, worker_labels()),
    ]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_who_talks_to_whom(overlay: str) -> None:
    objects = render(FOLDER / overlay)
    policies = [thing for thing in objects if thing["kind"] == "NetworkPolicy"]
    own = own_pods(objects)

    allowed = conversations(policies, [*own, *OUTSIDE, SEAWEEDFS])

    assert {peer.name for peer in own} == OWN_OF[overlay]
    assert {edge for edge in allowed if OWN_OF[overlay] & {*edge[:2]}} == EVERYWHERE | ONLY_IN[overlay]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_selector_selects_something(overlay: str) -> None:
    objects = render(FOLDER / overlay)
    labels = [peer.labels for peer in [*own_pods(objects), *OUTSIDE, SEAWEEDFS] if peer.labels]
    policies = [thing for thing in objects if thing["kind"] == "NetworkPolicy"]

    for policy in policies:
        for selector in selectors(policy):
            assert any(matches(selector, own) for own in labels), (policy["metadata"]["name"], selector)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_is_denied_to_start_with(overlay: str) -> None:
    objects = render(FOLDER / overlay)
    deny = next(thing for thing in objects if thing["metadata"]["name"] == "audio-gender-default-deny")

    assert sorted(deny["spec"]["policyTypes"]) == ["Egress", "Ingress"]
    assert deny["spec"].keys() == {"podSelector", "policyTypes"}
    assert all(matches(deny["spec"]["podSelector"], peer.labels or {}) for peer in own_pods(objects))


def test_kubeflows_own_pods_are_left_alone() -> None:
    policies = [thing for thing in render(FOLDER / "local") if thing["kind"] == "NetworkPolicy"]
    kubeflows = [*OUTSIDE, SEAWEEDFS]

    assert not [p for p in policies for peer in kubeflows if matches(p["spec"]["podSelector"], peer.labels or {})]
