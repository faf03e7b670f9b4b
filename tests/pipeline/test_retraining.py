# SPDX-License-Identifier: Apache-2.0
"""`watch --retrain`: when it starts a run and when it does not; whole runs are in `test_retraining_runs.py`."""

import datetime
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from demo_runs import Demo
from drifted_log import write_drifted_log
from small_demo import ANY_MODEL, SMALL

from beam_jobs.errors import UserError
from components.alarm import Alarm
from components.pusher.provenance import Provenance
from components.watch.accuracy import ExpectedAccuracy
from components.watch.drift import Drift
from components.watch.result import Skew, WatchResult
from pipeline import cli
from pipeline.outcome import Outcome, read_outcomes, recorded
from pipeline.retraining import Before, last_here, retrain, work_folder
from pipeline.served import facts
from pipeline.workdir import WorkDir

ALARM = Alarm(version=5, since="2026-11-20T05:00:00+00:00", until="2026-11-27T05:00:00+00:00", requests=812,
              reasons=["drift of level: Jensen-Shannon 0.431, at most 0.25"], values={"level_dbfs": 0.431})  # fmt: skip


def days_ago(days: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)


def start(last: Before | None) -> str:
    return f"started after {last.name if last else 'none'}"


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (None, "started after none"),
        (Before("run 1", False, days_ago(7.1)), "started after run 1"),
        (Before("run 1", False, None), "started after run 1"),  # it failed, or was killed
        (Before("run 1", True, None), "not retrained: run 1 is still running"),
        (Before("run 1", False, days_ago(6.9)), "not retrained: run 1 ended on "),
    ],
)
def test_a_run_is_started_unless_one_is_at_work_or_it_is_quiet(tmp_path: Path, last: Before | None, said: str) -> None:
    assert retrain(tmp_path, 7.0, lambda: last, start).startswith(said)


HOLD = """
import sys
from pathlib import Path
from pipeline.retraining import retrain

def work(last):
    print("started", flush=True)
    sys.stdin.read()
    return "done"

retrain(Path(sys.argv[1]), 7.0, lambda: None, work)
"""


def test_of_two_calls_at_once_one_starts_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"started\n"

    meanwhile = retrain(tmp_path, 7.0, lambda: None, start)
    holder.kill()
    holder.communicate()
    afterwards = retrain(tmp_path, 7.0, lambda: None, start)

    assert (meanwhile, afterwards) == ("not retrained: another call is retraining now", "started after none")


def test_a_folder_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--retrain locks this file"):
        retrain(tmp_path / "gone", 7.0, lambda: None, start)


def test_the_last_retraining_is_asked_of_the_work_folder(tmp_path: Path) -> None:
    workdir = WorkDir.at(tmp_path / "work")
    assert last_here(workdir) is None

    def keep(run_id: str, **of: Any) -> None:
        outcome = Outcome(run_id=run_id, started=days_ago(1).isoformat(), **of)
        (workdir.reports / run_id).mkdir(parents=True)
        (workdir.reports / run_id / "outcome.json").write_text(outcome.model_dump_json())

    keep("20261120-000000", state="finished")
    assert last_here(workdir) is None  # a person's own run
    keep("20261121-000000", state="finished", alarm=ALARM, seconds=3600)
    last = last_here(workdir)
    assert last and last.name == "run 20261121-000000" and not last.at_work
    assert last.ended and abs(last.ended - days_ago(1 - 1 / 24)) < datetime.timedelta(minutes=1)
    keep("20261122-000000", state="at work", alarm=ALARM)  # killed: nobody holds the folder
    assert last_here(workdir) == Before("run 20261122-000000", False, None)
    with workdir.locked():
        assert last_here(workdir) == Before("run 20261122-000000", True, None)
    keep("20301231-000000", state="finished")  # by a clock that was wrong, which hides none that is at work
    with workdir.locked():
        assert last_here(workdir) == Before("run 20261122-000000", True, None)


def test_a_work_folder_that_is_held_by_no_run_is_named(tmp_path: Path) -> None:
    workdir = WorkDir.at(tmp_path / "work")
    with workdir.locked():
        assert last_here(workdir) == Before(f"another command in {workdir.root}", True, None)


def test_a_retraining_from_the_future_blocks_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its clock was wrong, and until its time comes may be years."""
    workdir = WorkDir.at(tmp_path / "work")

    def keep(run_id: str, days: float, seconds: float = 60) -> None:
        outcome = Outcome(run_id=run_id, started=days_ago(days).isoformat(), state="finished", alarm=ALARM, seconds=seconds)
        (workdir.reports / run_id).mkdir(parents=True)
        (workdir.reports / run_id / "outcome.json").write_text(outcome.model_dump_json())

    def again() -> str:
        return retrain(tmp_path, 7.0, lambda: last_here(workdir), start)

    keep("20301231-000000", -1500)
    assert again() == "started after none"
    assert "warning: run 20301231-000000 is dated 20" in capsys.readouterr().err
    keep("20261120-000000", 6.9)  # which came afterwards, by a clock that was right
    assert again().startswith("not retrained: run 20261120-000000 ended on ")
    keep("20261121-000000", 0, seconds=1800)  # of a clock that is half an hour ahead, as some are
    assert again().startswith("not retrained: run 20261121-000000 ended on ")


def test_an_outcome_keeps_why(tmp_path: Path) -> None:
    workdir = WorkDir.at(tmp_path / "work")
    (workdir.reports / "1").mkdir(parents=True)
    with recorded(workdir, Outcome(run_id="1", started="2026-11-27T05:00:00+00:00", alarm=ALARM)):
        pass
    assert read_outcomes(workdir)["1"].alarm == ALARM


def result(**found: object) -> WatchResult:
    known = {"version": 5, "model_digest": "", "since": ALARM.since, "until": ALARM.until, "judged": True, "requests": 900}
    return WatchResult.model_validate({**known, "with_speech": 812, "errors": 0, "sample": 812, "reference": 300, **found})


def test_the_cause_is_what_training_can_answer() -> None:
    level = Drift(name="level_dbfs", kind="Jensen-Shannon", distance=0.431, threshold=0.25, p=0.0, alarm=True)
    usual = level.model_copy(update={"name": "speech", "distance": 0.1, "alarm": False})
    wrong = ExpectedAccuracy(value=0.8, low=0.75, high=0.85, reference=0.95, reference_expected=0.95, alarm=True)
    server = Skew(value=0.1, threshold=1e-5, asked=3, alarm=True)

    assert result(drift=[level, usual], reasons=ALARM.reasons).cause == ALARM
    both = result(drift=[level], accuracy=wrong, skew=server, reasons=["a", "b", "c"]).cause
    assert both and both.values == {"level_dbfs": 0.431, "expected accuracy": 0.8} and both.reasons == ["a", "b", "c"]
    assert result(skew=server, reasons=["skew: …"]).cause is None and result().cause is None


def test_lineage_says_why() -> None:
    stored = Provenance(by="gate", login="me@here", version=6, alarm=ALARM)
    said = dict(facts("s3://models", stored))["retrained for"]
    assert said.startswith("watch, 2026-11-20 to 2026-11-27, 812 requests with speech to version 5: drift of level")
    assert Provenance.model_validate_json(stored.model_dump_json()) == stored


def test_a_serving_folder_of_no_work_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work" / "serving").mkdir(parents=True)
    assert work_folder(tmp_path / "work" / "serving").root == tmp_path / "work"
    with pytest.raises(UserError, match="is not the folder `serving` of a work folder"):
        work_folder(tmp_path / "models")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--corpus", "x"], "--corpus needs --retrain"),
        (["--package", "x"], "--package needs --retrain"),
        (["--retrain"], "give its --config"),
        (["--retrain", "--package", "gone.yaml"], "--package gone.yaml: No such file or directory; write it with"),
        (["--retrain", "--config", "librispeech-mini"], "no corpus: give --corpus ROOT"),
        (["--retrain", "--config", "demo", "--serving", "models"], "is not the folder `serving` of a work folder"),
    ],
)
def test_what_could_not_be_started_is_said_before_anything_is_read(
    tmp_path: Path, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["audio-gender", "watch", "--log", "log", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    out, err = capsys.readouterr()
    assert (stopped.value.code, out) == (2, "") and said in err and "Traceback" not in err


def test_the_same_recordings_are_not_trained_on_again(demo: Demo, tmp_path: Path, audio_gender: Callable) -> None:
    """The alarm stands, is told and is 3; but a training would make the model that is there."""
    workdir = tmp_path / "work"
    shutil.copytree(demo.workdir, workdir)
    for version in sorted(path for path in (workdir / "serving").iterdir() if path.name.isdigit()):
        if version.name != demo.first.result["serving_version"]:
            shutil.rmtree(version)
    write_drifted_log(workdir / "serving" / demo.first.result["serving_version"], tmp_path / "log")
    before = {path.name for path in (workdir / "serving").iterdir()}
    settings = [argument for setting in (*SMALL, *ANY_MODEL) for argument in ("--set", setting)]
    started = time.monotonic()

    done = audio_gender("watch", "--log", tmp_path / "log", "--serving", workdir / "serving", "--config", "demo", *settings,
                        "--retrain", "--json", tmp_path / "watch.json", "--html", tmp_path / "watch.html")  # fmt: skip

    assert done.returncode == 3, done.stderr
    told = json.loads((tmp_path / "watch.json").read_text())
    assert told["status"] == "alarm" and told["retraining"] in done.stdout and told["retraining"] in done.stdout.splitlines()[-1]
    assert told["retraining"].startswith("not retrained: the recordings, the configuration and the code are those that made")
    assert "the code are those that made version" in (tmp_path / "watch.html").read_text()
    assert {path.name for path in (workdir / "serving").iterdir()} == before
    assert "Trainer" not in done.stderr and time.monotonic() - started < 600
