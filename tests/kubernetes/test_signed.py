# SPDX-License-Identifier: Apache-2.0
"""The component `signed`: what the init container's own script does with real versions, keys and sigstore's command line."""

import os
import subprocess
import sys
import time
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from api import Manifest
from keys import KeyPair, make_keys
from kustomize_tool import render
from overlays import ROOT

from components.model_digest import SIGNATURE_FILE
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push

pytest.importorskip("model_signing", reason="the optional package model-signing is not installed")
SIGNED = ROOT / "k8s/components/signed"


def script() -> str:
    (container,) = yaml.safe_load((SIGNED / "verify.yaml").read_text())["spec"]["template"]["spec"]["initContainers"]
    assert container["command"][:2] == ["sh", "-c"]
    return str(container["command"][2])


@pytest.fixture
def serving(tmp_path: Path) -> Path:
    return tmp_path / "serving/audio-gender"


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return make_keys(tmp_path / "keys")


def start(tmp_path: Path) -> subprocess.Popen[str]:
    """The script in a folder for the container's root, as the image's user would have it: one program on the path."""
    tools = tmp_path / "bin"
    tools.mkdir(exist_ok=True)
    program = tools / "model_signing"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m model_signing "$@"\n')
    program.chmod(0o755)
    here = (
        script()
        .replace("/serving/", f"{tmp_path}/serving/")
        .replace("/keys/", f"{tmp_path}/keys/")
        .replace("sleep 10", "sleep 1")
    )
    environment = {**os.environ, "PATH": f"{tools}:/usr/bin:/bin"}
    return subprocess.Popen(["sh", "-c", here], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def put(serving: Path, content: str, private_key: Path | None) -> Path:
    model = serving.parents[1] / f"model-{content}"
    model.mkdir()
    (model / "saved_model.pb").write_text(content)
    return serving / str(push(model, serving, Provenance(by="gate", login="pod"), 9, private_key).version)


def test_it_waits_for_the_first_push_and_lets_a_signed_model_through(tmp_path, serving, keys):
    waiting = start(tmp_path)
    time.sleep(2)
    assert waiting.poll() is None
    put(serving, "a", keys.private)
    said = waiting.communicate(timeout=60)[0]
    assert waiting.returncode == 0, said
    assert said.startswith(f"no model in {serving} yet: waiting for the first push\n")


def test_it_stops_where_the_newest_version_is_not_signed_was_changed_or_signed_by_another(tmp_path, serving, keys):
    first = put(serving, "a", keys.private)
    (serving / "9").mkdir()  # older, and by the alphabet the last
    for spoil in (None, "other key", "change"):
        key = make_keys(tmp_path / "other").private if spoil == "other key" else keys.private if spoil else None
        version = put(serving, str(spoil), key)
        if spoil == "change":
            (version / "saved_model.pb").write_text("changed")
        stopped = start(tmp_path)
        said = stopped.communicate(timeout=60)[0]
        assert stopped.returncode == 1
        assert said.splitlines()[-1].startswith(f"version {version.name} is not served: it is not signed with the key of")
    assert (first / SIGNATURE_FILE).is_file()


@pytest.mark.parametrize("overlay", ["local", "production"])
def test_an_overlay_with_it_is_what_kubernetes_expects(tmp_path, overlay):
    folder = tmp_path / "overlay"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"resources: [{os.path.relpath(ROOT / 'k8s/overlays' / overlay, folder)}]\n"
        f"components: [{os.path.relpath(SIGNED, folder)}]\n"
    )
    deployment = next(
        thing for thing in render(folder) if thing["metadata"]["name"] == "audio-gender-serving" and thing["kind"] == "Deployment"
    )
    kubernetes_validate.validate(deployment, "1.33", strict=True)
    pod: Manifest = deployment["spec"]["template"]["spec"]
    (container,) = pod["initContainers"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
    assert volumes["public-key"]["configMap"]["name"] == "audio-gender-public-key"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "private" not in str(pod)
