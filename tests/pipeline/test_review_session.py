# SPDX-License-Identifier: Apache-2.0
"""Four real runs in one work folder: the first model, a better one, a worse one, and an equal one that a person reviews."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from components.model_digest import model_digest
from components.pusher.serving_folder import read_provenance, versions
from pipeline.lineage import list_decisions
from pipeline.runs import list_runs
from pipeline.workdir import WorkDir

pytestmark = pytest.mark.slow

NO_CHANGE = "max_accuracy_loss: null, max_auc_loss: null, max_recall_loss: null, max_ece_rise: null"
ANY_MODEL = [
    f"gate.{clips}={{min_accuracy: 0, min_auc: 0, min_recall: 0, max_ece: 1, {NO_CHANGE}}}" for clips in ("overall", "slices")
]
NO_WORSE_MODEL = [
    f"gate.overall={{min_accuracy: 0, min_auc: 0, min_recall: 0, max_ece: 1, {NO_CHANGE.replace('null', '0', 1)}}}",
    f"gate.slices={{min_accuracy: 0.3, min_auc: null, min_recall: null, max_ece: null, {NO_CHANGE}}}",
]
BETTER_TRAINING = ["train.epochs=16", "train.learning_rate=0.005"]


@dataclass
class Session:
    """What each run and each command came to, and which versions were in serving after it."""

    workdir: WorkDir
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    said: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    versions: dict[str, list[int]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def session(tmp_path_factory, small_demo: list[str | Path], audio_gender: Callable[..., Any]) -> Session:
    """The whole session; each model but the better one is trained once, the others come from TFX's cache."""
    folder = tmp_path_factory.mktemp("review")
    done = Session(WorkDir(folder / "work"))

    def command(name: str, *arguments: str | Path) -> None:
        done.said[name] = audio_gender(*arguments, "--workdir", done.workdir.root)
        done.versions[name] = versions(done.workdir.serving)

    def run(name: str, *settings: str) -> str:
        result = folder / f"{name}.json"
        options = [argument for setting in settings for argument in ("--set", setting)]
        command(name, "run", *small_demo, "--json", result, *options)
        done.runs[name] = json.loads(result.read_text())
        refused = done.runs[name]["verdict"] == "refused"
        assert done.said[name].returncode == (3 if refused else 0), done.said[name].stderr
        return done.runs[name]["run_id"]

    run("first", *ANY_MODEL)
    run("better", *NO_WORSE_MODEL, *BETTER_TRAINING)
    run("worse", *NO_WORSE_MODEL)
    equal = run("equal", *NO_WORSE_MODEL, *BETTER_TRAINING, "push.mode=review")
    command("waiting", "runs")
    command("approved", "approve", equal, "--by", "Ada", "--note", "sounds right")
    command("approved again", "approve", equal, "--by", "Eve", "--note", "me too")
    command("rolled back", "rollback", "--by", "Ada", "--note", "false alarms")
    command("listed", "runs", "--json", folder / "runs.json")
    return done


def test_the_first_model_is_pushed(session):
    assert session.runs["first"]["verdict"] == "pushed"
    assert session.versions["first"] == [int(session.runs["first"]["serving_version"])]
    assert session.runs["first"]["baseline_version"] is None


def test_the_better_model_is_compared_with_the_first_and_pushed(session):
    first, better = session.runs["first"], session.runs["better"]
    assert (better["verdict"], better["baseline_version"]) == ("pushed", first["serving_version"])
    assert better["metrics"]["all"]["accuracy"] > first["metrics"]["all"]["accuracy"]
    assert session.versions["better"] == [int(first["serving_version"]), int(better["serving_version"])]
    assert int(better["serving_version"]) > int(first["serving_version"])


def test_the_worse_model_is_refused_with_the_slices_on_which_it_is_bad(session):
    worse = session.runs["worse"]
    assert (worse["verdict"], worse["baseline_version"]) == ("refused", session.runs["better"]["serving_version"])
    bad = [name for name, figures in worse["metrics"].items() if name.startswith("label=") and figures["accuracy"] < 0.3]
    assert bad
    for name in bad:
        assert f"accuracy on {name} is " in worse["reason"]
    assert session.versions["worse"] == session.versions["better"]


def test_the_equal_model_waits(session):
    equal = session.runs["equal"]
    assert (equal["verdict"], equal["baseline_version"]) == ("waiting", session.runs["better"]["serving_version"])
    assert session.versions["equal"] == session.versions["better"]
    assert f"approve {equal['run_id']} " in session.said["equal"].stderr
    assert re.search(rf"^{equal['run_id']} +waiting +\d\.\d{{4}} ", session.said["waiting"].stdout, re.MULTILINE)


def test_the_approved_model_is_pushed_by_a_partial_run_that_trains_nothing(session):
    said, run_id = session.said["approved"], session.runs["equal"]["run_id"]
    assert said.returncode == 0, said.stderr
    *before, version = session.versions["approved"]
    assert before == session.versions["equal"]
    assert said.stdout.splitlines()[-1] == f"pushed: run {run_id} is in serving as version {version}, approved by Ada"
    stored = read_provenance(session.workdir.serving, version)
    assert (stored.action, stored.by, stored.note) == ("approved", "Ada", "sounds right")
    assert (stored.run_id, stored.override, stored.blessed) == (run_id, False, True)
    assert stored.model_digest == model_digest(session.workdir.serving / str(version))
    assert len(list((session.workdir.tfx / "Trainer/model").iterdir())) == 2


def test_approving_twice_is_refused_with_one_line(session):
    said, version = session.said["approved again"], session.versions["approved"][-1]
    assert said.returncode == 2
    (line,) = [line for line in said.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(rf"was approved by Ada on \d{{4}}-\d\d-\d\d as version {version}: sounds right$", line)
    assert session.versions["approved again"] == session.versions["approved"]


def test_the_rollback_brings_the_better_model_back_as_a_new_version(session):
    better = int(session.runs["better"]["serving_version"])
    *before, version = session.versions["rolled back"]
    assert before == session.versions["approved"]
    assert version > before[-1]
    serving = session.workdir.serving
    assert model_digest(serving / str(version)) == model_digest(serving / str(better))
    assert read_provenance(serving, version).rolled_back_to == better
    assert f"now in serving: version {version}, a copy of version {better}, of run " in session.said["rolled back"].stdout


def test_the_list_says_what_became_of_each_and_who_decided(session):
    expected = [
        ("first", "pushed", "gate"),
        ("better", "pushed", "gate"),
        ("worse", "refused", "gate"),
        ("equal", "pushed", "Ada"),
        ("better", "rolled back", "Ada"),
    ]
    assert [(item.run_id, item.verdict, item.decided_by) for item in list_runs(session.workdir)] == [
        (session.runs[name]["run_id"], verdict, by) for name, verdict, by in expected
    ]
    assert [decision.kind for decision in list_decisions(session.workdir)] == ["approved", "rolled back"]
    assert f"in serving: version {session.versions['rolled back'][-1]}, " in session.said["listed"].stdout
