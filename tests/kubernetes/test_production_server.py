# SPDX-License-Identifier: Apache-2.0
"""Overlay `production` with `audio-gender serve`, by the components that docs/kubernetes-production.md lists for it."""

import re
import shutil
from pathlib import Path

import kubernetes_validate
import yaml
from kustomize_tool import render
from overlays import ROOT


def test_production_serves_with_what_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs/kubernetes-production.md").read_text(encoding="utf-8")
    chapter = page.partition("### Which server\n")[2].partition("\n### ")[0]
    components = re.findall(r"^      - (\.\./\.\./components/\S+)", chapter, re.MULTILINE)
    assert len(components) == 3
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    path = tmp_path / "k8s/overlays/production/kustomization.yaml"
    overlay = yaml.safe_load(path.read_text())
    assert "../../components/tensorflow-serving" in overlay["components"]
    path.write_text(yaml.safe_dump({**overlay, "components": components}))

    objects = render(path.parent)

    (server,) = (
        thing for thing in objects if thing["kind"] == "Deployment" and thing["metadata"]["name"] == "audio-gender-serving"
    )
    kubernetes_validate.validate(server, "1.33", strict=True)
    (container,) = server["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["command"]) == ("audio-gender", ["audio-gender", "serve"])
    assert "--log=/requests" in container["args"]
    assert container["resources"]["limits"]["memory"] == "4Gi"  # as the page says
    mounts = {mount["name"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounts["serving"] is False  # it decides about candidates
    ports = {port["port"] for thing in objects if thing["kind"] == "Service" for port in thing["spec"]["ports"]}
    assert 8501 in ports and 8500 not in ports
