# SPDX-License-Identifier: Apache-2.0
"""The cache of whole runs: a gate that checks nothing, in another checkout, and the real gate behind it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_demo import TINY

pytestmark = pytest.mark.slow

PACKAGES = ("beam_jobs", "components", "pipeline")
CONFIG = f"""\
{TINY}train: {{epochs: 1, batch_size: 8, crop_s: 0.5}}
gate:
  overall: {{min_accuracy: 1, min_auc: 1, max_ece: 0}}
"""
"""Noise in place of voices, and one epoch: no model of it is right about every clip and sure of it besides."""


def run(checkout: Path, result: Path, *arguments: str | Path) -> dict:
    """A run by the sources of `checkout`; its result, which it writes to a file of that name."""
    done = subprocess.run(
        [sys.executable, "-c", "from pipeline.cli import main; main()", "run", *map(str, arguments), "--json", str(result)],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert result.exists(), done.stderr  # a refused model has an exit status of its own
    return json.loads(result.read_text())


@pytest.fixture
def checkouts(root: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two checkouts at different places; the gate of the first checks nothing."""
    places = tmp_path / "one" / "checkout", tmp_path / "two" / "checkout"
    for place in places:
        for package in PACKAGES:
            shutil.copytree(root / package, place / package, ignore=shutil.ignore_patterns("__pycache__"))
    decide = places[0] / "components/gate/decide.py"
    text = decide.read_text()
    edits = (("blessed=not reasons,", "blessed=True,"), ("        reasons=reasons,", "        reasons=[],"))
    for checks, checks_nothing in edits:
        assert text.count(checks) == 1
        text = text.replace(checks, checks_nothing)
    decide.write_text(text)
    return places


def test_a_repaired_gate_judges_anew_and_nothing_else_runs_again(checkouts, make_corpus, tmp_path):
    broken, whole = checkouts
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    arguments = ["--config", config, "--corpus", make_corpus(), "--workdir", tmp_path / "work"]

    first = run(broken, tmp_path / "1.json", *arguments)
    second = run(whole, tmp_path / "2.json", *arguments)

    assert first["verdict"] == "pushed"
    assert not any(node["cached"] for node in first["nodes"])
    assert second["verdict"] == "refused" and "accuracy" in second["reason"]
    assert [node["node"] for node in second["nodes"] if not node["cached"]] == ["Gate", "ReviewReport", "Pusher"]


def test_another_threshold_on_degraded_clips_degrades_and_asks_nothing_again(root, make_corpus, tmp_path):
    config = tmp_path / "config.yaml"
    nothing = "{min_accuracy: 0, min_auc: 0, min_recall: 0, max_ece: 1}"
    measured = "robustness: {degradations: [telephone], strengths: [1], num_clips: 4}"
    train = "train: {epochs: 1, batch_size: 8, crop_s: 0.5}"
    config.write_text(f"{TINY}{train}\ngate: {{overall: {nothing}, slices: {nothing}}}\n{measured}\n")
    arguments = ["--config", config, "--corpus", make_corpus(), "--workdir", tmp_path / "work"]

    refused = run(root, tmp_path / "1.json", *arguments, "--set", "gate.robustness.telephone.max_ece=0")
    pushed = run(root, tmp_path / "2.json", *arguments, "--set", "gate.robustness.telephone.max_ece=1")

    assert (refused["verdict"], pushed["verdict"]) == ("refused", "pushed")
    assert refused["reason"].startswith("calibration error on degradation=telephone, strength=1 is 0.")
    assert [node["node"] for node in pushed["nodes"] if not node["cached"]] == ["Gate", "ReviewReport", "Pusher"]
