# SPDX-License-Identifier: Apache-2.0
"""Images without a digest do not reach production."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kustomize_tool import kustomize
from overlays import OVERLAYS, ROOT

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
IMAGES = {"audio-gender": "registry/audio-gender", "flink": "flink", "tensorflow/serving": "tensorflow/serving"}


def check(manifests: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, ROOT / "tools/check_images.py"]
    return subprocess.run(program, input=manifests, capture_output=True, text=True, timeout=60)


def build(folder: Path) -> str:
    return subprocess.run([kustomize(), "build", folder], stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout


@pytest.fixture
def overlays(tmp_path: Path) -> Path:
    """A copy of them, to change."""
    shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
    return tmp_path / "k8s" / "overlays"


def pin(folder: Path, *names: str) -> None:
    """As docs/kubernetes-production.md has it."""
    for name in names:
        edit = [kustomize(), "edit", "set", "image", f"{name}={IMAGES[name]}@{DIGEST}"]
        subprocess.run(edit, cwd=folder, check=True, timeout=60)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_nobody_pinned_yet_is_refused_in_one_line(overlay: str) -> None:
    checked = check(build(ROOT / "k8s" / "overlays" / overlay))

    assert (checked.returncode, checked.stdout) == (2, "")
    (line,) = checked.stderr.splitlines()
    assert line.startswith("error: images without a digest: audio-gender")
    others = ("flink:1.19.3-java17", "tensorflow/serving:2.20.0")
    assert [name in line for name in others] == [overlay != "local"] * 2


def test_one_image_left_is_named_alone(overlays: Path) -> None:
    pin(overlays / "production", "audio-gender", "flink")

    checked = check(build(overlays / "production"))

    assert checked.returncode == 2
    assert checked.stderr.startswith("error: images without a digest: tensorflow/serving:2.20.0; nothing is applied;")


@pytest.mark.parametrize("overlay", ["production", "kserve"])
def test_pinned_in_one_place_everything_goes_through(overlays: Path, overlay: str) -> None:
    pin(overlays / "production", *IMAGES)
    manifests = build(overlays / overlay)

    checked = check(manifests)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, manifests, "")
    assert f"value: registry/audio-gender@{DIGEST}" in manifests  # what retraining compiles for


def test_a_tag_of_the_same_length_is_no_digest() -> None:
    assert check(f"kind: Pod\nspec: {{containers: [{{image: 'a@sha256:{'g' * 64}'}}]}}\n").returncode == 2


def test_no_manifests_at_all_are_an_error() -> None:
    checked = check("")

    assert checked.returncode == 2
    assert "no manifests" in checked.stderr
