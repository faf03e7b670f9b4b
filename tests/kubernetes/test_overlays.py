# SPDX-License-Identifier: Apache-2.0
"""What every overlay comes to, held against Kubernetes' schemas and this project's rules, without a cluster."""

import re
from collections.abc import Iterator

import kubernetes_validate
import pytest
import yaml
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions, StandardOptions
from api import Manifest
from conversations import matches
from kustomize_tool import OLD, render
from overlays import FOLDER, OVERLAYS
from pod_templates import pods

from beam_jobs.config import validate
from components.trainer.workers.kubernetes import launch
from pipeline.config import PipelineConfig, load_config
from pipeline.kubeflow.config import KubernetesConfig

KUBERNETES = "1.33"
CUSTOM = {"FlinkDeployment", "InferenceService", "ServingRuntime"}
"""Their schemas are those of their operators: `make test-kubernetes`."""
PART_OF = ("app.kubernetes.io/part-of", "audio-gender")
CREDENTIAL = re.compile(r"(KEY|KEY_ID|SECRET|PASSWORD|TOKEN)$", re.IGNORECASE)


@pytest.fixture(scope="module", params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Manifest]:
    """All objects of an overlay."""
    return render(FOLDER / request.param)


def of_kind(objects: list[Manifest], kind: str) -> list[Manifest]:
    return [thing for thing in objects if thing["kind"] == kind]


def named(objects: list[Manifest], kind: str, name: str) -> Manifest:
    return next(thing for thing in of_kind(objects, kind) if thing["metadata"]["name"] == name)


def config_map(objects: list[Manifest], name: str) -> dict[str, str]:
    """Of a generated ConfigMap, whose name ends in a digest of its content."""
    (found,) = (thing for thing in of_kind(objects, "ConfigMap") if thing["metadata"]["name"].startswith(f"{name}-"))
    return dict(found["data"])


def configuration(objects: list[Manifest]) -> PipelineConfig:
    """What runs in the cluster are configured by."""
    text = config_map(objects, "audio-gender-config")["config.yaml"]
    return validate(PipelineConfig, yaml.safe_load(text), "config.yaml")


def containers(pod: Manifest) -> Iterator[Manifest]:
    yield from pod["spec"].get("initContainers", [])
    yield from pod["spec"]["containers"]


def test_every_object_has_the_form_that_kubernetes_expects(objects: list[Manifest]) -> None:
    for thing in objects:
        if thing["kind"] not in CUSTOM:
            kubernetes_validate.validate(thing, KUBERNETES, strict=True)


def test_everything_is_in_one_namespace(objects: list[Manifest]) -> None:
    assert len({thing["metadata"].get("namespace") for thing in objects}) == 1
    assert objects[0]["metadata"]["namespace"] in {"kubeflow", "audio-gender"}


def test_everything_says_what_it_is_part_of(objects: list[Manifest]) -> None:
    for thing in [*objects, *pods(objects)]:
        assert PART_OF in thing["metadata"].get("labels", {}).items(), thing["metadata"]["name"]


def test_no_pod_has_a_privilege(objects: list[Manifest]) -> None:
    for pod in pods(objects):
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["serviceAccountName"].startswith("audio-gender-")
        assert not pod["spec"].keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert not [volume for volume in pod["spec"]["volumes"] if "hostPath" in volume]
        for container in containers(pod):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert own.get("runAsUser", 1) > 0


def test_every_container_has_requests_and_limits(objects: list[Manifest]) -> None:
    for pod in pods(objects):
        for container in containers(pod):
            if container["name"] == "flink-main-container":
                continue  # The operator makes both of `resource`.
            for kind in ("requests", "limits"):
                assert container["resources"][kind].keys() == {"cpu", "memory"}, (pod["metadata"]["name"], container["name"])
    for flink in of_kind(objects, "FlinkDeployment"):
        for role in ("jobManager", "taskManager"):
            assert flink["spec"][role]["resource"].keys() == {"cpu", "memory"}


def test_every_container_that_works_has_somewhere_to_write(objects: list[Manifest]) -> None:
    for pod in pods(objects):
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        for container in containers(pod):
            mounts = container["volumeMounts"]
            assert {mount["name"] for mount in mounts} <= volumes
            if container["name"] != "wait-for-first-push":
                assert "/tmp" in [mount["mountPath"] for mount in mounts], container["name"]


def test_credentials_are_references(objects: list[Manifest]) -> None:
    assert of_kind(objects, "Secret") == []
    for data in (thing["data"] for thing in of_kind(objects, "ConfigMap")):
        assert not [key for key in data if CREDENTIAL.search(key)]
    variables = [item for pod in pods(objects) for container in containers(pod) for item in container.get("env", [])]
    secret = [item for item in variables if CREDENTIAL.search(item["name"])]
    assert {item["name"] for item in secret} == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert all("secretKeyRef" in item["valueFrom"] for item in secret)


def test_roles_name_what_they_allow(objects: list[Manifest]) -> None:
    for role in of_kind(objects, "Role"):
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"secrets", "configmaps", "pods/exec"} & {*rule["resources"]}
    assert not [thing for thing in objects if thing["kind"].startswith("Cluster")]
    for binding in of_kind(objects, "RoleBinding"):
        assert named(objects, "Role", binding["roleRef"]["name"])
        assert all(subject["namespace"] == binding["metadata"]["namespace"] for subject in binding["subjects"])


def test_the_trainer_may_do_what_its_launcher_asks_for_and_no_more(objects: list[Manifest]) -> None:
    written = re.findall(r"apiGroups: (.*?) +resources: (.*?) +verbs: (.*)", str(launch.__doc__))
    rules = named(objects, "Role", "audio-gender-training")["rules"]

    assert len(written) > 3
    assert rules == [dict(zip(("apiGroups", "resources", "verbs"), map(yaml.safe_load, row), strict=True)) for row in written]


def test_service_accounts_exist(objects: list[Manifest]) -> None:
    accounts = {thing["metadata"]["name"] for thing in of_kind(objects, "ServiceAccount")}

    assert {pod["spec"]["serviceAccountName"] for pod in pods(objects)} <= accounts


def test_what_selects_pods_finds_some(objects: list[Manifest]) -> None:
    found = list(pods(objects))
    for service in of_kind(objects, "Service"):
        selected = [pod for pod in found if matches({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"])]
        ports = {port["name"] for pod in selected for container in containers(pod) for port in container.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for budget in of_kind(objects, "PodDisruptionBudget"):
        assert any(matches(budget["spec"]["selector"], pod["metadata"]["labels"]) for pod in found)
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        assert named(objects, scaler["spec"]["scaleTargetRef"]["kind"], scaler["spec"]["scaleTargetRef"]["name"])


def test_config_maps_and_claims_exist(objects: list[Manifest]) -> None:
    maps = {thing["metadata"]["name"] for thing in of_kind(objects, "ConfigMap")}
    claims = {thing["metadata"]["name"] for thing in of_kind(objects, "PersistentVolumeClaim")}
    for pod in pods(objects):
        for volume in pod["spec"]["volumes"]:
            assert "configMap" not in volume or volume["configMap"]["name"] in maps
            assert "persistentVolumeClaim" not in volume or volume["persistentVolumeClaim"]["claimName"] in claims
        sources = [source for container in containers(pod) for source in container.get("envFrom", [])]
        assert {source["configMapRef"]["name"] for source in sources} <= maps


def test_claims_and_folders_are_those_of_the_pipeline(objects: list[Manifest]) -> None:
    defaults = KubernetesConfig()
    claims = {thing["metadata"]["name"] for thing in of_kind(objects, "PersistentVolumeClaim")}

    assert {volume.claim for volume in defaults.volumes} == claims
    for pod in pods(objects):
        for server in containers(pod):
            assert server["name"] != "model-server" or server_folder(objects, server) == defaults.serving_uri


def server_folder(objects: list[Manifest], server: Manifest) -> str:
    """Where a model server looks for models."""
    if server["command"] == ["audio-gender", "serve"]:
        return str(next(word for word in server["args"] if word.startswith("--serving=")).partition("=")[2])
    return re.findall('base_path: "(.*)"', config_map(objects, "audio-gender-models")["models.config"])[0]


@pytest.mark.parametrize("overlay", ["local", "production"])
def test_the_overlays_configuration_is_one_that_runs_take(overlay: str) -> None:
    objects = render(FOLDER / overlay)
    resolved = load_config(FOLDER / overlay / "config.yaml")
    data, store = config_map(objects, "audio-gender-clips"), config_map(objects, "audio-gender-object-store")

    assert (data["CORPUS"], data["DATASET"]) == (resolved.kubernetes.corpus_uri, resolved.kubernetes.dataset_uri)
    assert store == resolved.kubernetes.env


def test_the_clips_job_gives_beam_options_that_it_knows(objects: list[Manifest]) -> None:
    job = named(objects, "CronJob", "audio-gender-clips")
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert [argument.split("=")[0] for argument in container["args"]] == ["--config", "--corpus", "--output", "--own-folder"]
    beam = configuration(objects).beam.clips
    names = {argument.removeprefix("--").split("=")[0] for argument in beam}

    assert names <= PipelineOptions(beam).get_all_options().keys()


def test_flink_is_there_where_clips_are_mixed_on_it_and_its_slots_hold_all_subtasks(objects: list[Manifest]) -> None:
    options = PipelineOptions(configuration(objects).beam.clips)
    slots = [
        flink["spec"]["taskManager"]["replicas"] * int(flink["spec"]["flinkConfiguration"]["taskmanager.numberOfTaskSlots"])
        for flink in of_kind(objects, "FlinkDeployment")
    ]

    assert bool(slots) == (options.view_as(StandardOptions).runner == "FlinkRunner")
    assert sum(slots) >= (options.view_as(FlinkRunnerOptions).parallelism if slots else 0)


def test_retraining_compiles_for_its_own_image(objects: list[Manifest]) -> None:
    pod = named(objects, "CronJob", "audio-gender-retrain")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (compile_,) = pod["initContainers"]

    assert {item["name"]: item.get("value") for item in compile_["env"]}["IMAGE"] == compile_["image"]


def test_the_model_server_is_ready_only_while_a_version_answers(objects: list[Manifest]) -> None:
    servers = [one for pod in pods(objects) for one in containers(pod) if one["name"] in ("model-server", "kserve-container")]
    paths = {
        "audio-gender": ["/v2/health/live", "/v2/health/live", "/v2/health/ready"],
        "tensorflow_model_server": ["/v1/models/audio-gender", "/v1/models/audio-gender", "/v1/models/audio-gender/metadata"],
    }

    (server,) = servers
    probes = [server[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert probes == paths[server["command"][0]]


def test_the_local_overlay_needs_one_node() -> None:
    claims = of_kind(render(FOLDER / "local"), "PersistentVolumeClaim")

    assert [claim["spec"]["accessModes"] for claim in claims] == [["ReadWriteOnce"]] * 2


# Requests of what a node of 4 CPU and 8 GiB runs besides, in millicores and MiB, as their own manifests have them: kind's control
# plane (etcd 100 and 100, API server 250, controller manager 200, scheduler 100, two CoreDNS 100 and 70, kindnet 100 and 50), and
# Kubeflow Pipelines 2.17.0: `env/platform-agnostic` (API server 250 and 500, persistence agent 120 and 500, UI 10 and 70,
# visualization 30 and 500, Argo's controller 100 and 500, MySQL 100 and 800, SeaweedFS 64 and 256) and the application controller
# 100 and 20.
SYSTEM = (950, 290)
KUBEFLOW = (774, 3146)
NODE = (4000, 8192)


def test_the_local_overlay_fits_a_node_of_4_cpu_and_8_gib_with_a_step_and_everything_else() -> None:
    objects = render(FOLDER / "local")
    always = [pod for pod in pods(objects) if "-deployment-" in pod["metadata"]["name"]]
    retraining = [pod for pod in pods(objects) if "retrain" in pod["metadata"]["name"]]
    config = configuration(objects).kubernetes
    steps = [config.step, *config.steps.values()]
    step = (max(millicores(one.cpu) for one in steps), max(mebibytes(one.memory) for one in steps))

    own = [requests(pod) for pod in (*always, *retraining)]
    needed = [sum(column) for column in zip(SYSTEM, KUBEFLOW, step, *own, strict=True)]

    assert len(own) == 2
    assert not of_kind(objects, "FlinkDeployment")
    assert (needed[0] <= NODE[0], needed[1] <= NODE[1]) == (True, True), needed


def requests(pod: Manifest) -> tuple[int, int]:
    """What the scheduler reserves: the containers together, or the largest init container."""
    own, first = (
        [
            (millicores(str(one["resources"]["requests"]["cpu"])), mebibytes(one["resources"]["requests"]["memory"]))
            for one in group
        ]
        for group in (pod["spec"]["containers"], pod["spec"].get("initContainers", []))
    )
    cpu, memory = (sum(column) for column in zip(*own, strict=True))
    return max(cpu, *(one[0] for one in first)), max(memory, *(one[1] for one in first))


def millicores(text: str) -> int:
    return int(text[:-1]) if text.endswith("m") else round(float(text) * 1000)


def mebibytes(text: str) -> int:
    return int(text[:-2]) * {"Mi": 1, "Gi": 1024}[text[-2:]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_old_kustomize_makes_the_same_of_it(overlay: str) -> None:
    assert render(FOLDER / overlay, OLD) == render(FOLDER / overlay)
