# SPDX-License-Identifier: Apache-2.0
"""Other tasks than the first, from a corpus to a gated push: ages and accents of a Common Voice-like list, sounds by folder."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from commands import call
from tasks.corpora import ACCENTS, AGES, SOUNDS, write_common_voice, write_sounds

# Synthetic accents of ten speakers each are hardly learnt; chance is 0.2.
VOICES = """\
corpus: {label_column: LABELS_COLUMN}
clips:
  labels: LABELS
  duration_s: 3
  sample_rate_hz: 16000
  num_clips: {train: 300, eval: 50, test: 75}
  clips_per_shard: 75
  max_utterances: 1
  split_shares: {train: 0.6, eval: 0.2, test: 0.2}
data: {min_class_share: 0.1}
train: {epochs: 12, batch_size: 32, crop_s: 2.5, early_stopping_patience: null}
gate:
  overall: {min_accuracy: 0.3, min_auc: 0.55, min_recall: 0, max_ece: 0.5}
  slices: {min_accuracy: 0, min_auc: 0, min_recall: 0, max_ece: 1}
  min_slice_clips: 15
  bootstrap_samples: 200
"""
SOUND = Path(__file__).parents[2] / "docs/custom.md"


def config_of_the_tutorial() -> str:
    """The configuration that docs/custom.md shows, as it stands there."""
    text = SOUND.read_text(encoding="utf-8").split("## 2. A configuration\n")[1].split("\n- ")[0]
    return "\n".join(line.removeprefix("    ") for line in text.splitlines() if line.startswith("    "))


def run(tmp_path: Path, config: str, corpus: Path) -> dict[str, Any]:
    (tmp_path / "task.yaml").write_text(config, encoding="utf-8")
    done = call(
        "run",
        "--config",
        tmp_path / "task.yaml",
        "--corpus",
        corpus,
        "--workdir",
        tmp_path / "work",
        "--json",
        tmp_path / "r.json",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads((tmp_path / "r.json").read_text())
    return result


@pytest.fixture(scope="module")
def common_voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("espeakng_loader", reason="needs espeak-ng: make setup-dev")
    root = tmp_path_factory.mktemp("tasks") / "cv"
    write_common_voice(root, 16, 3)
    return root


@pytest.mark.skipif(not os.environ.get("RUN_TASKS"), reason="two whole runs, of ages and accents: make test-tasks (5 minutes)")
@pytest.mark.parametrize(("column", "labels"), [("age", AGES), ("accents", ACCENTS)])
def test_five_classes_of_voices(tmp_path: Path, common_voice: Path, column: str, labels: dict[str, Any]) -> None:
    config = VOICES.replace("LABELS_COLUMN", column).replace("LABELS", json.dumps(list(labels)))
    result = run(tmp_path, config, common_voice)

    assert (result["verdict"], result["classes"]) == ("pushed", list(labels))
    report = Path(result["folders"]["report"], "report.html").read_text(encoding="utf-8")
    assert all(label in report for label in labels)
    heard = sorted((common_voice / "clips").iterdir())[:5]
    answers = call("predict", *heard, "--serving", tmp_path / "work/serving", "--format", "json")
    rows = json.loads(answers.stdout)
    assert len(rows) == 5
    assert {key for row in rows for key in row["probabilities"]} == set(labels)


@pytest.mark.slow
def test_sounds_that_are_no_voices_by_the_tutorial_s_configuration(tmp_path: Path) -> None:
    write_sounds(tmp_path / "sounds", 30)
    result = run(tmp_path, config_of_the_tutorial(), tmp_path / "sounds")

    assert (result["verdict"], result["classes"]) == ("pushed", list(SOUNDS))
    answers = call("predict", tmp_path / "sounds", "--serving", tmp_path / "work/serving", "--format", "json")
    rows = json.loads(answers.stdout)
    assert sum(Path(row["file"]).parent.name == row["label"] for row in rows) > 0.9 * len(rows)
