# SPDX-License-Identifier: Apache-2.0
"""The components `canary`, `kserve-serverless` and `kserve-canary` on the overlays that they are for."""

import os
import shutil
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from api import Api, Manifest
from applying import apply
from kustomize_tool import render
from overlays import ROOT
from pod_templates import pods

from components.pusher.trials import CANDIDATE_FOLDER

needs_server = pytest.mark.skipif(
    os.environ.get("RUN_KUBERNETES") != "1", reason="needs Go, Maven and some minutes: make test-kubernetes"
)


def with_components(folder: Path, overlay: str, *names: str) -> list[Manifest]:
    shutil.copytree(ROOT / "k8s", folder / "k8s")
    path = folder / "k8s/overlays" / overlay / "kustomization.yaml"
    content = yaml.safe_load(path.read_text())
    content["components"] = [*content.get("components", []), *(f"../../components/{name}" for name in names)]
    path.write_text(yaml.safe_dump(content))
    return render(path.parent)


def one(objects: list[Manifest], kind: str) -> Manifest:
    return next(thing for thing in objects if (thing["kind"], thing["metadata"]["name"][:12]) == (kind, "audio-gender"))


def test_the_server_may_write_to_the_serving_folder_and_its_init_container_may_not(tmp_path: Path) -> None:
    deployment = one(with_components(tmp_path, "local", "canary"), "Deployment")
    kubernetes_validate.validate(deployment, "1.33", strict=True)
    pod = deployment["spec"]["template"]["spec"]
    (server,), (waiting,) = pod["containers"], pod["initContainers"]
    mounts = {mount["name"]: mount.get("readOnly", False) for mount in server["volumeMounts"]}
    assert mounts == {"serving": False, "tmp": False}
    assert [mount["readOnly"] for mount in waiting["volumeMounts"]] == [True]


def test_kserves_canary_serves_the_folder_in_which_the_pusher_puts_candidates(tmp_path: Path) -> None:
    plain = one(with_components(tmp_path / "plain", "kserve", "kserve-serverless"), "InferenceService")
    tried = one(with_components(tmp_path / "tried", "kserve", "kserve-serverless", "kserve-canary"), "InferenceService")
    assert tried["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Serverless"
    before, now = plain["spec"]["predictor"], tried["spec"]["predictor"]
    assert now["model"]["storageUri"] == f"{before['model']['storageUri']}/{CANDIDATE_FOLDER}"
    assert now.pop("canaryTrafficPercent") == 10
    now["model"]["storageUri"] = before["model"]["storageUri"]
    assert now == before  # nothing else differs between the two revisions


@needs_server
@pytest.mark.parametrize(
    ("overlay", "names"),
    [("local", ["canary"]), ("kserve", ["kserve-serverless"]), ("kserve", ["kserve-serverless", "kserve-canary"])],
)
def test_a_real_server_accepts_them_without_a_warning(
    control_plane, custom_resources: None, tmp_path: Path, overlay: str, names: list[str]
) -> None:
    admin: Api = control_plane.as_user(control_plane.admin.token)
    objects = with_components(tmp_path, overlay, *names)
    apply(admin, objects)
    assert admin.warnings == []
    assert all(admin.create(pod, dryRun="All") for pod in pods(objects))
