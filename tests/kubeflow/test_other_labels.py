"""Sounds of five labels, compiled, and every step as a process with what Kubeflow would give it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import call
from tasks.corpora import SOUNDS, write_sounds

SETTINGS = [
    f"clips.labels={json.dumps(SOUNDS)}",
    "clips.duration_s=2",
    "clips.num_clips={train: 100, eval: 25, test: 50}",
    "clips.max_utterances=1",
    "clips.length_share={min: 1, max: 1}",
    "clips.split_shares={train: 0.6, eval: 0.2, test: 0.2}",
    "data.min_class_share=0.1",
    "model.skip_pauses=false",
    "train.crop_s=1",
    "train.not_speech_share=0",
]


def test_a_folder_for_each_of_five_labels_comes_to_a_push(tmp_path: Path, new_cluster: Callable) -> None:
    if not os.environ.get("RUN_KUBEFLOW"):
        pytest.skip("minutes: run it with `make test-kubeflow`")
    write_sounds(tmp_path / "sounds", 12)
    cluster = new_cluster(str(tmp_path / "sounds"))

    run = cluster.kubeflow.run(cluster.compile(*SETTINGS), cluster.parameters)

    assert {name: step.log[-3000:] for name, step in run.steps.items() if step.state != "succeeded"} == {}
    gate = json.loads((cluster.kubeflow.store.path(run.steps["Gate"].outputs["blessing"].uri) / "gate.json").read_text())
    assert gate["classes"] == list(SOUNDS)
    assert {f"label={label}" for label in SOUNDS} <= {item["name"] for item in gate["slices"]}
    assert run.steps["Pusher"].outputs["pushed_model"].metadata["pushed"] == 1
    answer = call("predict", tmp_path / "sounds/bell/bell000.wav", "--serving", cluster.serving, "--format", "json")
    assert list(json.loads(answer.stdout)[0]["probabilities"]) == list(SOUNDS)
