"""Other labels than female and male, compiled, and every step as a process with what Kubeflow would give it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import call
from tasks.corpora import ACCENTS, AGES, SOUNDS, write_common_voice, write_sounds

SETTINGS = [
    "clips.num_clips={train: 100, eval: 25, test: 50}",
    "clips.max_utterances=1",
    "clips.split_shares={train: 0.6, eval: 0.2, test: 0.2}",
    "data.min_class_share=0.1",
]


@pytest.fixture
def walk(new_cluster: Callable) -> Callable[..., dict[str, Any]]:
    """Every step with these settings; checks that it comes to a push by these labels, and answers for a recording by them."""

    def run(corpus: Path, labels: list[str], recording: Path, *settings: str) -> dict[str, Any]:
        cluster = new_cluster(str(corpus))
        compiled = cluster.compile(*SETTINGS, f"clips.labels={json.dumps(labels)}", *settings)

        result = cluster.kubeflow.run(compiled, cluster.parameters)

        assert {name: step.log[-3000:] for name, step in result.steps.items() if step.state != "succeeded"} == {}
        gate = json.loads((cluster.kubeflow.store.path(result.steps["Gate"].outputs["blessing"].uri) / "gate.json").read_text())
        assert gate["classes"] == labels
        assert {f"label={label}" for label in labels} <= {item["name"] for item in gate["slices"]}
        assert result.steps["Pusher"].outputs["pushed_model"].metadata["pushed"] == 1
        answer = call("predict", recording, "--serving", cluster.serving, "--format", "json")
        row: dict[str, Any] = json.loads(answer.stdout)[0]
        return row

    if not os.environ.get("RUN_KUBEFLOW"):
        pytest.skip("minutes: run it with `make test-kubeflow`")
    return run


@pytest.fixture(scope="module")
def common_voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tasks") / "cv"
    write_common_voice(root, 8, 2)
    return root


@pytest.mark.parametrize(("column", "labels"), [("age", list(AGES)), ("accents", list(ACCENTS))])
def test_a_column_of_five_labels_comes_to_a_push(
    walk: Callable[..., dict[str, Any]], common_voice: Path, column: str, labels: list[str]
) -> None:
    recording = next((common_voice / "clips").iterdir())

    row = walk(common_voice, labels, recording, f"corpus={{label_column: {column}}}")

    assert list(row["probabilities"]) == labels


def test_a_folder_for_each_of_five_labels_comes_to_a_push(walk: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    write_sounds(tmp_path / "sounds", 12)
    sounds = ["clips.duration_s=2", "clips.length_share={min: 1, max: 1}", "model.skip_pauses=false", "train.not_speech_share=0"]

    row = walk(tmp_path / "sounds", list(SOUNDS), tmp_path / "sounds/bell/bell000.wav", *sounds, "train.crop_s=1")

    assert list(row["probabilities"]) == list(SOUNDS)
