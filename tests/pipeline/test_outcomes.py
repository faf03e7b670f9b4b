# SPDX-License-Identifier: Apache-2.0
"""Whatever ends a run, `runs` lists it with where and why, and what was pushed is told as pushed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_demo import ANY_MODEL, SMALL

from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push
from pipeline.outcome import Outcome, read_outcomes
from pipeline.runs import list_runs
from pipeline.workdir import WorkDir

COMMAND = Path(sys.executable).parent / "audio-gender"
PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def options(root) -> list[str | Path]:
    settings = [argument for setting in (*SMALL, *ANY_MODEL) for argument in ("--set", setting)]
    return ["run", "--config", root / "pipeline/configs/demo.yaml", *settings]


def test_a_run_that_failed_before_anything_was_made(audio_gender, options, tmp_path):
    work, empty = tmp_path / "work", tmp_path / "empty"
    empty.mkdir()

    failed = audio_gender(*options, "--workdir", work, "--corpus", empty, "--name", "own voices", "--tag", "first")
    listed = audio_gender("runs", "--workdir", work)

    assert (failed.returncode, listed.returncode) == (2, 0), listed.stderr
    reason = failed.stderr.splitlines()[-1].removeprefix("error: ")
    (run,) = list_runs(WorkDir.at(work))
    assert (run.verdict, run.note, run.name, run.tags) == ("stopped", f"Corpus: {reason}", "own voices", ["first"])
    assert re.search(rf"^{run.run_id} +stopped .*own voices #first; Corpus: {re.escape(reason)}", listed.stdout, re.MULTILINE)
    unknown = audio_gender("approve", run.run_id, "--by", "Ada", "--workdir", work)
    assert unknown.stderr.splitlines()[-1].startswith(f"error: run {run.run_id} did not finish")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "at", "note"),
    [
        (signal.SIGKILL, "ClipExampleGen", "ClipExampleGen: killed"),
        (signal.SIGINT, "loading TensorFlow and TFX", "loading TensorFlow and TFX: interrupted"),
    ],
    ids=["killed", "Ctrl-C"],
)
def test_a_run_that_was_ended_from_outside(demo, options, tmp_path, how, at, note):
    work = WorkDir.at(tmp_path / "work")
    shutil.copytree(demo.workdir / "corpus", work.corpus)
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen([COMMAND, *map(str, [*options, "--workdir", work.root])], stdout=log, stderr=log)
    try:
        _wait_until(lambda: any(outcome.at == at for outcome in read_outcomes(work).values()), process)
        (while_at_work,) = list_runs(work)
        process.send_signal(how)
        process.wait(60)
    finally:
        process.kill()
    (run,) = list_runs(work)
    assert (while_at_work.verdict, while_at_work.note) == ("at work", at)
    assert (run.verdict, run.note) == ("stopped", note)


def _wait_until(true: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not true():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    "content",
    [b"", b'{"run_id": "2026', b'{"speakers": []}', b"[1, 2]", b"\x00\xff" * 100],
    ids=["empty", "cut", "other", "list", "bytes"],
)
def test_a_damaged_result_is_named_and_the_other_runs_are_listed(command, make_run, workdir, content):
    make_run("refused", run_id="20261123-000000")
    make_run("waiting", run_id="20261123-000001")
    damaged = workdir.reports / "20261123-000001/run.json"
    damaged.write_bytes(content)

    status, said = command("runs")

    assert status == 0
    assert said.count(f"left out: {damaged}: damaged (not a run's result)") == 1
    assert re.search(r"^20261123-000000 +refused +0\.5000", said, re.MULTILINE)
    assert re.search(r"^20261123-000001 +waiting +-", said, re.MULTILINE)
    status, said = command("approve", "20261123-000001", "--by", "Ada")
    assert (status, said.count(f"error: {damaged}: damaged")) == (2, 1)


def test_a_model_that_was_pushed_by_a_run_that_was_killed_before_it_said_so(workdir, model):
    workdir.reports.mkdir(parents=True)
    outcome = Outcome(run_id="20261123-000000", started="2026-11-23T00:00:00+00:00", at="Pusher")
    (workdir.reports / outcome.run_id).mkdir()
    (workdir.reports / outcome.run_id / "outcome.json").write_text(outcome.model_dump_json())
    assert [(run.verdict, run.note) for run in list_runs(workdir)] == [("stopped", "Pusher: killed")]

    version = push(model, workdir.serving, Provenance(by="gate", login="x@y", run_id=outcome.run_id), keep=5).version

    assert [(run.verdict, run.pushed_version) for run in list_runs(workdir)] == [("pushed", str(version))]


@pytest.fixture
def small_disk(demo, tmp_path) -> Iterator[Callable[[int], Path]]:
    """A function that gives a copy of the demo's work folder whose reports are on a disk with some bytes left."""
    work = tmp_path / "work"
    subprocess.run(["cp", "-a", demo.workdir, work], check=True)
    reports = work / "reports"

    def mount(left: int) -> Path:
        kept = tmp_path / "kept"
        reports.rename(kept)
        reports.mkdir()
        options = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(reports)]
        if subprocess.run(options, capture_output=True).returncode:
            pytest.skip("mounting a tmpfs is not allowed here")
        subprocess.run(["cp", "-a", f"{kept}/.", reports], check=True)
        used = sum(path.stat().st_blocks * 512 for path in reports.rglob("*"))
        subprocess.run(["mount", "-o", f"remount,size={used + left}", reports], check=True)
        return work

    yield mount
    subprocess.run(["umount", reports], capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize("pages", [8, 3], ids=["no room for the report", "no room for the result"])
def test_a_model_that_was_pushed_is_told_as_pushed_where_the_disk_is_full_at_the_end(audio_gender, options, small_disk, pages):
    work = small_disk(pages * PAGE)

    done = audio_gender(*options, "--set", "gate.bootstrap_samples=201", "--workdir", work)

    assert done.returncode == 0, done.stderr
    assert "\npushed\n" in done.stdout
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert "No space left on device" in warning
    run_id = re.search(r"^run (\S+) in ", done.stderr, re.MULTILINE)[1]
    assert (work / "reports" / run_id / "run.json").exists() == (pages == 8)
    assert [path.name for path in (work / "reports" / run_id).iterdir() if path.suffix == ".tmp"] == []
    assert not (work / "reports" / run_id / "report.html").exists()
    listed = audio_gender("runs", "--workdir", work, "--json", "-")
    (row,) = [row for row in json.loads(listed.stdout) if row["run_id"] == run_id]
    assert (row["verdict"], row["decided_by"]) == ("pushed", "gate")
    # When there is room again, the command that the warning names makes up for it.
    subprocess.run(["mount", "-o", "remount,size=64m", work / "reports"], check=True)
    reviewed = audio_gender(*warning.split("`")[1].split()[-4:], "--no-open")
    assert reviewed.returncode == 0, reviewed.stderr
    assert (work / "reports" / run_id / "run.json").exists()
    assert (work / "reports" / run_id / "review.html").stat().st_size > 10_000
