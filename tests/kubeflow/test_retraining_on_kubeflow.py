# SPDX-License-Identifier: Apache-2.0
"""`watch --retrain --package`: a run on Kubeflow that knows why, one at a time, against a server on the loopback interface."""

import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from drifted_log import write_drifted_log
from kubeflow_api import KubeflowApi, Refused

from beam_jobs.errors import UserError
from components.alarm import Alarm
from components.watch.records import CANARY, HELD_OUT, Record, write_reference
from pipeline.kubeflow.client import Kubeflow, connect
from pipeline.kubeflow.retraining import last_on_kubeflow, run_on_kubeflow
from pipeline.kubeflow.submit import submit
from pipeline.retraining import retrain

ALARM = Alarm(version=5, since="2026-11-20T05:00:00+00:00", until="2026-11-27T05:00:00+00:00", requests=812,
              reasons=["drift of level: Jensen-Shannon 0.431, at most 0.25"], values={"level_dbfs": 0.431})  # fmt: skip


@pytest.fixture
def package(tmp_path: Path) -> Path:
    parameters = {"alarm": {"parameterType": "STRING", "isOptional": True, "defaultValue": ""}}
    spec = {"pipelineInfo": {"name": "audio-gender"}, "root": {"dag": {}, "inputDefinitions": {"parameters": parameters}}}
    path = tmp_path / "pipeline.yaml"
    path.write_text(yaml.safe_dump_all([spec, {"platforms": {"kubernetes": {}}}]))
    return path


@pytest.fixture
def again(tmp_path: Path, package: Path) -> Callable[[Kubeflow], str]:
    """A function that does what `watch` does about an alarm."""

    def call(kubeflow: Kubeflow) -> str:
        run = partial(run_on_kubeflow, ALARM, kubeflow, package, "runner")
        return retrain(tmp_path, 7.0, partial(last_on_kubeflow, kubeflow), run)

    return call


def test_one_run_at_a_time_and_none_in_the_quiet_period(server: KubeflowApi, package: Path, again: Callable) -> None:
    kubeflow = connect(server.host)
    submit(package, kubeflow)  # a person's, of another experiment

    first = again(kubeflow)
    run = server.runs[-1]
    assert first == f"retraining: run {run.run_id} was started, {server.host}/#/runs/details/{run.run_id}"
    assert Alarm.model_validate_json(run.runtime_config["parameters"]["alarm"]) == ALARM
    assert run.display_name.startswith("retraining 20") and "level_dbfs" in run.display_name
    assert run.service_account == "runner" and len(server.experiments) == 2

    assert again(kubeflow) == f"not retrained: run {run.run_id} is still running"
    run.state, run.finished_at = "SUCCEEDED", datetime.now(UTC) - timedelta(days=6.9)
    assert again(kubeflow).startswith(f"not retrained: run {run.run_id} ended on ")
    run.finished_at -= timedelta(days=0.2)
    assert again(kubeflow).startswith("retraining: run run-3 was started")


def test_a_run_from_the_future_blocks_nothing_unless_it_is_at_work(server: KubeflowApi, again: Callable, capsys) -> None:
    kubeflow = connect(server.host)
    again(kubeflow)
    ahead = server.runs[-1]
    ahead.created_at += timedelta(days=1500)
    assert again(kubeflow) == "not retrained: run run-1 is still running"
    ahead.state, ahead.finished_at = "SUCCEEDED", ahead.created_at + timedelta(hours=1)
    assert again(kubeflow).startswith("retraining: run run-2 was started")
    assert "warning: run run-1 is dated 20" in capsys.readouterr().err
    server.runs[-1].state, server.runs[-1].finished_at = "SUCCEEDED", datetime.now(UTC)
    assert again(kubeflow).startswith("not retrained: run run-2 ended on ")


def test_an_older_run_that_was_started_again_is_at_work(server: KubeflowApi, again: Callable) -> None:
    kubeflow = connect(server.host)
    again(kubeflow)
    server.runs[0].state = "FAILED"
    again(kubeflow)
    server.runs[1].state = "FAILED"
    server.runs[0].state = "RUNNING"

    assert again(kubeflow) == "not retrained: run run-1 is still running"


@pytest.mark.parametrize("state", [None, "RUNTIME_STATE_UNSPECIFIED"])
def test_a_run_of_no_state_is_at_work_for_an_hour(server: KubeflowApi, again: Callable, state: str | None, capsys) -> None:
    kubeflow = connect(server.host)
    again(kubeflow)
    server.runs[0].state = state
    server.runs[0].created_at -= timedelta(minutes=59)
    assert again(kubeflow) == "not retrained: run run-1 is still running"

    server.runs[0].created_at -= timedelta(minutes=2)
    assert again(kubeflow).startswith("retraining: run run-2 was started")
    assert "run run-1 has had no state for more than an hour: it does not count as running" in capsys.readouterr().err


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_after_a_run_that_failed_there_is_no_quiet(server: KubeflowApi, again: Callable, state: str, capsys) -> None:
    kubeflow = connect(server.host)
    again(kubeflow)
    server.runs[-1].state = state

    assert again(kubeflow).startswith("retraining: run run-2 was started")
    assert "the previous retraining, run run-1, did not succeed" in capsys.readouterr().err


def test_of_several_calls_at_once_one_starts_a_run(server: KubeflowApi, again: Callable) -> None:
    said: list[str] = []
    calls = [threading.Thread(target=lambda: said.append(again(connect(server.host)))) for _ in range(6)]
    for call in calls:
        call.start()
    for call in calls:
        call.join()

    assert len(server.runs) == 1 and len(said) == 6
    assert sum(line.startswith("retraining: run") for line in said) == 1


def test_with_several_users_the_runs_of_one_namespace_count(again: Callable) -> None:
    with KubeflowApi(multi_user=True) as server:
        kubeflow = connect(server.host, "audio-gender")
        again(kubeflow)
        assert again(kubeflow) == "not retrained: run run-1 is still running"
        assert server.experiments[0].namespace == "audio-gender"


def test_kubeflow_that_refuses_is_one_line(server: KubeflowApi, again: Callable) -> None:
    kubeflow = connect(server.host)
    server.refuse["/experiments"] = Refused(403, {"message": "User is not authorized", "code": 7, "details": []})
    with pytest.raises(UserError, match="Kubeflow Pipelines denied the request"):
        again(kubeflow)


def test_a_package_of_before_is_refused_by_name(server: KubeflowApi, package: Path, again: Callable) -> None:
    package.write_text(package.read_text().replace("alarm:", "alert:"))
    with pytest.raises(UserError, match="parameter alarm: this pipeline has no such parameter"):
        again(connect(server.host))
    assert not server.runs


def test_the_command_tells_the_alarm_and_the_run(server: KubeflowApi, package: Path, alarming: tuple[Path, Path]) -> None:
    serving, log = alarming
    command = [sys.executable, "-m", "pipeline", "watch", "--log", log, "--serving", serving, "--retrain", "--package", package]
    call = partial(subprocess.run, [*command, "--host", server.host], capture_output=True, text=True)

    done, again = call(), call()

    assert (done.returncode, again.returncode) == (3, 3), done.stderr
    assert "alarm: drift of" in done.stdout and done.stdout.splitlines()[-1].startswith("retraining: run run-1 was started")
    assert again.stdout.splitlines()[-1] == "not retrained: run run-1 is still running"
    told = json.loads(server.runs[0].runtime_config["parameters"]["alarm"])
    assert told["version"] == 5 and "level_dbfs" in told["values"] and len(server.runs) == 1


@pytest.fixture
def alarming(tmp_path: Path) -> tuple[Path, Path]:
    """A serving folder with a reference, and a log of other recordings."""
    rng = np.random.default_rng(0)
    model = tmp_path / "serving" / "5"
    model.mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"a network")
    usual = Record(
        path=HELD_OUT, truth=0, duration_s=3.0, speech=0.8, label="a", classes=("a", "b"), clipping=1e-4, band_hz=7000.0
    )
    clips = [
        dataclasses.replace(
            usual,
            probabilities=np.array([0.9, 0.1], np.float32),
            level_dbfs=float(rng.normal(-20, 3)),
            mel=rng.normal(-40, 5, 32).astype(np.float32),
            embedding=rng.normal(0, 1, 8).astype(np.float32),
        )
        for _ in range(100)
    ]
    write_reference(model, [*clips, dataclasses.replace(clips[0], path=CANARY)])
    write_drifted_log(model, tmp_path / "log")
    return model.parent, tmp_path / "log"
