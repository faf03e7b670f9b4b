# SPDX-License-Identifier: Apache-2.0
"""What `audio-gender compile` writes for Kubeflow Pipelines."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from beam_jobs.errors import UserError
from pipeline import cli
from pipeline.config import CONFIGS, load_config

IMAGE = "registry.example/audio-gender@sha256:" + "0a" * 32
DEMO = CONFIGS / "demo.yaml"
TUNE = "tune={trials: 2, epochs: 1, space: {train.learning_rate: [0.001, 0.002]}}"


def compiled(*settings: str, config: Path = DEMO) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two documents: pipeline spec, and executors of the platform spec by name."""
    from pipeline.kubeflow.compile import compile_pipeline

    spec, platform = yaml.safe_load_all(compile_pipeline(load_config(config, settings), IMAGE))
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.fixture(scope="module")
def demo() -> tuple[dict[str, Any], dict[str, Any]]:
    return compiled()


def container(spec: dict[str, Any], node: str) -> dict[str, Any]:
    return spec["deploymentSpec"]["executors"][spec["components"][node]["executorLabel"]]["container"]


def test_what_a_run_changes_is_a_parameter_with_the_configuration_s_value_as_its_default(demo):
    parameters = demo[0]["root"]["inputDefinitions"]["parameters"]
    assert {name: parameter["defaultValue"] for name, parameter in parameters.items()} == {
        "corpus_uri": "",
        "dataset_uri": "s3://audio-gender/clips",
        "num_train_clips": 480,
        "num_eval_clips": 96,
        "num_test_clips": 96,
        "epochs": 12,
        "push_mode": "auto",
        "alarm": "",
    }
    assert parameters["push_mode"]["literals"] == ["auto", "review", "canary"]
    assert all(parameter["description"] for parameter in parameters.values())


def test_every_parameter_reaches_the_nodes_that_read_it(demo):
    read_by: dict[str, set[str]] = {name: set() for name in demo[0]["root"]["inputDefinitions"]["parameters"]}
    for node, task in demo[0]["root"]["dag"]["tasks"].items():
        for value in task["inputs"].get("parameters", {}).values() if "inputs" in task else ():
            if name := value.get("componentInputParameter"):
                read_by[name].add(node)
    assert read_by == {
        "corpus_uri": {"ClipGenerator", "ReviewReport", "Pusher"},
        "dataset_uri": {"ClipGenerator"},
        "num_train_clips": {"ClipGenerator"},
        "num_eval_clips": {"ClipGenerator"},
        "num_test_clips": {"ClipGenerator"},
        "epochs": {"Trainer", "Pusher"},
        "push_mode": {"ReviewReport", "Pusher"},
        "alarm": {"ReviewReport", "Pusher"},
    }


def test_every_step_runs_the_image_by_its_entrypoint(demo):
    spec, _ = demo
    assert spec["schemaVersion"] == "2.1.0"
    assert set(spec["components"]) == set(spec["root"]["dag"]["tasks"])
    for node in spec["components"]:
        assert container(spec, node)["image"] == IMAGE
        assert container(spec, node)["command"] == ["python", "-m", "pipeline.kubeflow.entrypoint"]


def test_what_may_change_under_the_same_uri_is_not_cached(demo):
    tasks = demo[0]["root"]["dag"]["tasks"]
    uncached = {node for node, task in tasks.items() if not task.get("cachingOptions", {}).get("enableCache")}
    assert uncached == {"ClipGenerator", "ServingBaseline", "ReviewReport", "Pusher"}
    produced = tasks["ClipExampleGen"]["inputs"]["parameters"]["fingerprint"]["taskOutputParameter"]
    assert produced == {"producerTask": "ClipGenerator", "outputParameterKey": "fingerprint"}
    for node in ("ClipExampleGen", "ReviewReport", "Pusher"):  # read the dataset where ClipGenerator made it
        produced = tasks[node]["inputs"]["parameters"]["dataset_uri"]["taskOutputParameter"]
        assert produced == {"producerTask": "ClipGenerator", "outputParameterKey": "dataset"}


def test_the_code_of_every_node_and_the_schema_are_in_kubeflow_s_cache_key(demo):
    for node, task in demo[0]["root"]["dag"]["tasks"].items():
        code = task["inputs"]["parameters"]["code"]["runtimeValue"]["constant"]
        assert re.fullmatch("[0-9a-f]{64}", code), node
    schema = demo[0]["root"]["dag"]["tasks"]["ImportSchemaGen"]["inputs"]["parameters"]["schema_text"]
    assert "clip/label" in schema["runtimeValue"]["constant"]


def test_there_is_no_resolver_and_no_driver_hook(demo):
    for executor in demo[0]["deploymentSpec"]["executors"].values():
        assert set(executor) == {"container"}
        assert "lifecycle" not in executor["container"]


def test_nothing_in_it_names_this_machine(demo):
    assert str(Path(__file__).parents[2]) not in yaml.safe_dump(demo[0])


def test_resources_selectors_secrets_and_volumes_are_those_of_the_configuration():
    spec, executors = compiled(
        'kubernetes.steps={Trainer: {cpu: "8", memory: 32Gi, accelerator: {type: nvidia.com/gpu, count: 2}, '
        "node_selector: {pool: gpu}, tolerations: [{key: gpu, effect: NoSchedule}]}}",
        "kubernetes.secret_env={AWS_ACCESS_KEY_ID: {secret: store, key: id}}",
        "kubernetes.env={AWS_REGION: nowhere-1}",
        "kubernetes.image_pull_secrets=[pull]",
    )
    assert container(spec, "Trainer")["resources"] == {
        "resourceCpuRequest": "8",
        "resourceMemoryRequest": "32Gi",
        "resourceMemoryLimit": "32Gi",
        "accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "2"},
    }
    trainer, gate = executors["Trainer_executor"], executors["Gate_executor"]
    assert trainer["nodeSelector"]["labels"] == {"pool": "gpu"}
    assert trainer["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert [mount["mountPath"] for mount in trainer["pvcMount"]] == ["/training"]
    assert "nodeSelector" not in gate or not gate["nodeSelector"]
    assert "pvcMount" not in gate
    for node, executor in ((node, executors[f"{node}_executor"]) for node in spec["components"]):
        (secret,) = executor["secretAsEnv"]
        assert (secret["secretName"], secret["keyToEnv"]) == ("store", [{"secretKey": "id", "envVar": "AWS_ACCESS_KEY_ID"}])
        assert executor["imagePullSecret"][0]["secretName"] == "pull"
        assert executor["fieldPathAsEnv"] == [{"name": "PIPELINE_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]
        assert container(spec, node)["env"] == [{"name": "AWS_REGION", "value": "nowhere-1"}]


KEY = ("push.private_key=/keys/private.pem",)
SECRET = (
    "kubernetes.volumes=[{claim: audio-gender-serving, path: /serving, nodes: [ServingBaseline, Pusher]}, "
    "{claim: audio-gender-training, path: /training, nodes: [Trainer]}, "
    "{secret: audio-gender-signing, path: /keys, nodes: [Pusher]}]"
)


def test_the_key_that_signs_is_a_secret_of_the_pusher_and_of_decisions_alone():
    from pipeline.kubeflow.compile import compile_decision

    spec, executors = compiled(*KEY, SECRET)
    assert {name for name, executor in executors.items() if "secretAsVolume" in executor} == {"Pusher_executor"}
    (secret,) = executors["Pusher_executor"]["secretAsVolume"]
    assert (secret["secretName"], secret["mountPath"], secret["optional"]) == ("audio-gender-signing", "/keys", False)
    constant = spec["root"]["dag"]["tasks"]["Pusher"]["inputs"]["parameters"]["private_key"]["runtimeValue"]["constant"]
    assert constant == "/keys/private.pem"

    _, platform = yaml.safe_load_all(compile_decision(load_config(DEMO, [*KEY, SECRET]), IMAGE))
    (decision,) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    assert [mount["mountPath"] for mount in decision["secretAsVolume"]] == ["/keys"]
    with pytest.raises(UserError, match=r"private_key /keys/private.pem: is not on a volume of Pusher \(/serving\); add one to"):
        compiled(*KEY)


def test_a_search_is_a_node_before_the_trainer():
    spec, _ = compiled(TUNE)
    assert "Tuner" in spec["root"]["dag"]["tasks"]["Trainer"]["dependentTasks"]


def test_degraded_clips_are_a_node_before_the_gate_where_the_configuration_has_them(demo):
    spec, _ = compiled("robustness={degradations: [telephone]}", "gate.robustness={telephone: {min_accuracy: 0.9}}")
    tasks = spec["root"]["dag"]["tasks"]
    assert {"Robustness", "Evaluator"} <= set(tasks["Gate"]["dependentTasks"])
    assert tasks["Gate"]["inputs"]["artifacts"]["robustness"]["taskOutputArtifact"]["producerTask"] == "Robustness"
    assert tasks["Robustness"]["cachingOptions"]["enableCache"]
    config = tasks["Robustness"]["inputs"]["parameters"]["config"]["runtimeValue"]["constant"]
    assert '"degradations":["telephone"]' in config
    assert "Robustness" not in demo[0]["root"]["dag"]["tasks"]
    assert "robustness" not in demo[0]["root"]["dag"]["tasks"]["Gate"]["inputs"]["artifacts"]


def test_the_same_configuration_compiles_to_the_same_bytes():
    from pipeline.kubeflow.compile import compile_pipeline

    config = load_config(DEMO)
    assert compile_pipeline(config, IMAGE) == compile_pipeline(config, IMAGE)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("kubernetes.serving_uri=/models", "serving_uri '/models' is not on a volume of ServingBaseline"),
        ("kubernetes.shared_folder=/scratch", "shared_folder '/scratch' is not on a volume of Trainer"),
        ("kubernetes.pipeline_root=/minio/b", "must begin with minio://"),
        ("kubernetes.step={memory: 4 GB}", "kubernetes.step.memory"),
        ("kubernetes.env={A-B: x}", "'A-B' is not a name for an environment variable"),
        (
            "kubernetes.env={WANDB_API_KEY: hunter2}",
            "env sets WANDB_API_KEY: .* put it in a Secret and name its key in kubernetes.secret_env",
        ),
        ("kubernetes.env={https_proxy: 'http://ada:hunter2@proxy:3128'}", "env sets https_proxy: .* kubernetes.secret_env"),
        ("kubernetes.volumes=[{path: /x, nodes: [Pusher]}]", "set exactly one of claim and secret"),
        ("kubernetes.steps={Trainr: {}}", "this pipeline has no node Trainr; its nodes are"),
    ],
)
def test_a_wrong_setting_is_one_line(setting, said):
    with pytest.raises(UserError, match=said) as error:
        compiled(setting)
    assert "\n" not in str(error.value)
    assert "hunter2" not in str(error.value)


def test_without_a_shared_folder_a_training_keeps_no_checkpoints_where_tensorflow_cannot_write():
    spec, _ = compiled("kubernetes.shared_folder=null")

    training = spec["root"]["dag"]["tasks"]["Trainer"]["inputs"]["parameters"]["custom_config"]["runtimeValue"]["constant"]
    assert (json.loads(training)["checkpoints"], json.loads(training)["shared_folder"]) == (None, None)
    assert "minio://mlpipeline/audio-gender/checkpoints" not in json.dumps(spec)


def test_a_decision_is_a_pipeline_of_one_step_beside_the_serving_folder():
    from pipeline.kubeflow.compile import compile_decision

    spec, platform = yaml.safe_load_all(compile_decision(load_config(DEMO), IMAGE))
    (task,) = spec["root"]["dag"]["tasks"].values()
    assert "cachingOptions" not in task or not task["cachingOptions"]
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert {name for name, parameter in parameters.items() if "defaultValue" not in parameter} == {"action", "by"}
    assert parameters["action"]["literals"] == ["approve", "reject", "rollback"]
    (executor,) = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    assert [mount["mountPath"] for mount in executor["pvcMount"]] == ["/serving"]
    assert executor["podMetadata"]["labels"]["app.kubernetes.io/component"] == "decision"
    with pytest.raises(UserError, match="on an object store models cannot wait for a decision"):
        compile_decision(load_config(DEMO, ["kubernetes.serving_uri=gs://models/audio-gender"]), IMAGE)


def test_an_object_store_has_no_candidates():
    from pipeline.kubeflow.compile import compile_pipeline

    config = load_config(DEMO, ["kubernetes.serving_uri=gs://models/audio-gender", "push.mode=canary"])
    with pytest.raises(UserError, match=r"kubernetes\.serving_uri gs://models/audio-gender is an object store"):
        compile_pipeline(config, IMAGE)


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["audio-gender", "compile", "--config", str(DEMO), *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("audio-gender:latest", "has no digest, so there is no telling which code will run; give NAME@sha256:"),
        ("audio-gender@sha256:12", "has no digest"),
        (" ", "is empty; name an image"),
    ],
)
def test_an_image_without_a_digest_is_refused_and_nothing_is_written(image, said, tmp_path, monkeypatch, capfd):
    output = tmp_path / "pipeline.yaml"
    assert run_command(monkeypatch, "--image", image, "--output", str(output)) == 2
    text = capfd.readouterr().err
    assert said in text.replace("\n", " ")
    assert not output.exists()


def test_the_command_writes_the_package_and_says_what_next(tmp_path, monkeypatch, capfd):
    output = tmp_path / "pipeline.yaml"
    assert run_command(monkeypatch, "--image", "audio-gender:dev", "--allow-tag", "--output", str(output)) == 0
    assert len(list(yaml.safe_load_all(output.read_text()))) == 2
    assert f"next: `audio-gender submit {output}" in capfd.readouterr().err.replace("\n", "")
