# SPDX-License-Identifier: Apache-2.0
"""`audio-gender lineage` on real serving folders: what is said of a version by people who have that folder and nothing else."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import call_here

from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push, roll_back

CONFIG = {
    "train": {"epochs": 10},
    "clips": {"num_clips": {"train": 480, "eval": 96}},
    "kubernetes": {"corpus_uri": "s3://c/LibriSpeech"},
}


@pytest.fixture
def serving(tmp_path) -> Path:
    """Two models, and the first one back in serving."""
    folder = tmp_path / "serving"
    for name in ("first", "second"):
        model = tmp_path / name
        model.mkdir()
        (model / "saved_model.pb").write_text(name)
        known: dict[str, Any] = {
            "dataset_fingerprint": f"data-{name}",
            "config_digest": "c" * 64,
            "config": CONFIG,
            "code_revision": "git:abc",
        }
        push(model, folder, Provenance(by="gate", login="pod", blessed=True, run_id=f"run-{name}", **known), keep=5)
    roll_back(folder, None, "Ada", "ada@desk", "hums")
    return folder


def test_the_newest_version_says_which_data_config_code_and_decision_made_it(serving, tmp_path):
    # Anywhere: a copy of the folder, on a machine without anything else.
    copy = tmp_path / "elsewhere"
    shutil.copytree(serving, copy)
    shutil.rmtree(serving)

    done = call_here("lineage", "--serving", copy)

    assert done.returncode == 0, done.stderr
    said = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    said = {name: value.strip() for name, value in said.items()}
    assert said["decision"].startswith("rolled back by Ada (ada@desk), back to version ")
    assert (said["note"], said["run"], said["data"], said["code"]) == ("hums", "run-first", "data-first", "git:abc")
    assert (said["corpus"], said["epochs"], said["clips"]) == ("s3://c/LibriSpeech", "10", "train: 480, eval: 96")
    assert said["files"] == "as they were pushed"


def test_an_earlier_version_its_configuration_and_all_of_it_as_json(serving):
    first = min(int(path.name) for path in serving.iterdir() if path.name.isdigit())

    assert yaml.safe_load(call_here("lineage", first, "--serving", serving, "--config").stdout) == CONFIG
    whole = json.loads(call_here("lineage", first, "--serving", serving, "--json", "-").stdout)
    assert (whole["version"], whole["run_id"], whole["config"]) == (first, "run-first", CONFIG)


def test_files_that_were_changed_since_are_not_said_to_be_the_models(serving):
    newest = max(int(path.name) for path in serving.iterdir() if path.name.isdigit())
    (serving / str(newest) / "saved_model.pb").write_text("changed")

    assert "files            its files are not those that were pushed" in call_here("lineage", "--serving", serving).stdout


@pytest.mark.parametrize(
    ("make", "version", "words"),
    [
        (lambda folder: None, [], "holds no version of a model; give the serving folder with --serving"),
        (lambda folder: (folder / "7").mkdir(parents=True), ["8"], "no version 8; there are 7"),
        (lambda folder: (folder / "7").mkdir(parents=True), ["7"], "version 7 has no provenance, so something else put it there"),
    ],
)
def test_what_is_not_there_is_one_line(tmp_path, make, version, words):
    make(tmp_path / "serving")

    done = call_here("lineage", *version, "--serving", tmp_path / "serving")

    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]
