# SPDX-License-Identifier: Apache-2.0
"""`k8s/components/watch` on the overlay local: valid, its command is one that `watch` takes, in place of the weekly run."""

import re
import shutil

import kubernetes_validate
import pytest
import yaml
from api import Manifest
from kustomize_tool import render
from overlays import ROOT
from typer.testing import CliRunner

from components.server.metrics import Metrics
from components.watch.config import WatchConfig
from pipeline.cli import app


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    folder = tmp_path_factory.mktemp("k8s") / "k8s"
    shutil.copytree(ROOT / "k8s", folder)
    path = folder / "overlays" / "local" / "kustomization.yaml"
    overlay = yaml.safe_load(path.read_text())
    overlay["components"] = [*overlay.get("components", []), "../../components/watch"]
    path.write_text(yaml.safe_dump(overlay))
    return render(path.parent)


def one(objects: list[Manifest], kind: str, name: str) -> Manifest:
    return next(thing for thing in objects if thing["kind"] == kind and thing["metadata"]["name"].startswith(name))


def test_the_claim_the_cronjob_and_the_server_share_a_folder(objects: list[Manifest]) -> None:
    job = one(objects, "CronJob", "audio-gender-retrain")
    kubernetes_validate.validate(job, "1.33", strict=True)
    kubernetes_validate.validate(one(objects, "PersistentVolumeClaim", "audio-gender-requests"), "1.33", strict=True)
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    server = one(objects, "Deployment", "audio-gender-serving")["spec"]["template"]["spec"]
    for spec in (pod, server):
        (container,) = spec["containers"]
        assert {"name": "requests", "mountPath": "/requests"} in container["volumeMounts"]
        assert "--log=/requests" in container["args"]
    claims = {volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume}
    assert claims == {"audio-gender-requests", "audio-gender-serving"}
    assert {"name": "serving", "mountPath": "/serving", "readOnly": True} in pod["containers"][0]["volumeMounts"]
    assert next(v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "config").startswith("audio-gender-config-")


def test_it_looks_before_it_retrains(objects: list[Manifest]) -> None:
    job = one(objects, "CronJob", "audio-gender-retrain")
    assert len([thing for thing in objects if thing["kind"] == "CronJob"]) == 2  # this one, and that of the clips
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (compiles,), (watches,) = pod["initContainers"], pod["containers"]
    assert (job["spec"]["schedule"], job["spec"]["concurrencyPolicy"]) == ("0 5 * * *", "Forbid")
    assert compiles["image"] == watches["image"] and watches["command"] == ["audio-gender", "watch"]
    package = next(argument for argument in watches["args"] if argument.startswith("--package=")).partition("=")[2]
    assert f"--output={package}" in compiles["args"] and "--retrain" in watches["args"]
    known = {item["name"] for item in watches["env"]}
    assert "NAMESPACE" in known and watches["envFrom"][0]["configMapRef"]["name"].startswith("audio-gender-retrain-")
    page = CliRunner().invoke(app, ["watch", "--help"], env={"COLUMNS": "200"}).output
    assert all(argument.partition("=")[0] in page for argument in watches["args"])


def test_alerts_ask_for_figures_that_there_are(objects: list[Manifest]) -> None:
    rules = yaml.safe_load(one(objects, "ConfigMap", "audio-gender-alerts")["data"]["alerts.yaml"])["groups"][0]["rules"]
    page = Metrics().page().decode()
    asked = {name for rule in rules for name in re.findall(r"audio_gender_\w+", rule["expr"])}
    assert asked == {
        "audio_gender_skew",
        "audio_gender_log_records_total",
        "audio_gender_requests_total",
        "audio_gender_rollbacks_total",
        "audio_gender_canary_decisions_total",
    }
    assert all(f"# TYPE {name.removesuffix('_total')}" in page for name in asked)
    assert f"> {WatchConfig().max_skew:g}".replace("1e-05", "1e-5") in next(r["expr"] for r in rules if "skew" in r["expr"])
