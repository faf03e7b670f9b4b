# SPDX-License-Identifier: Apache-2.0
"""A work folder that was copied, moved, renamed, linked to or named by a relative path is the same work folder."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_demo import ANY_MODEL, SMALL

from components.pusher.provenance import Provenance
from components.pusher.serving_folder import push, versions
from pipeline.lineage import candidate_of_run
from pipeline.result import read_result
from pipeline.workdir import WorkDir

pytestmark = pytest.mark.slow

COMMAND = Path(sys.executable).parent / "audio-gender"


def call(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=900, cwd=cwd)


@pytest.fixture(scope="module")
def options(root) -> list[str | Path]:
    settings = [argument for setting in (*SMALL, *ANY_MODEL, "push.mode=review") for argument in ("--set", setting)]
    return ["run", "--config", root / "pipeline/configs/demo.yaml", *settings]


@pytest.fixture(scope="module")
def waiting(demo, tmp_path_factory, options) -> tuple[Path, str]:
    """A folder with a work folder `w`, and the run there, which waits for approval."""
    folder = tmp_path_factory.mktemp("first home")
    # The demo's own, so that little is computed anew; without its serving folder the run has nothing to be compared with.
    subprocess.run(["cp", "-a", demo.workdir, folder / "w"], check=True)
    shutil.rmtree(folder / "w/serving")
    done = call(*options, "--workdir", "w", "--json", "result.json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, json.loads((folder / "result.json").read_text())["run_id"]


@pytest.fixture(scope="module")
def elsewhere(waiting, tmp_path_factory) -> Path:
    """A folder that holds the work folder under another name: `cp -a`, and the first one is gone from where it was."""
    folder = tmp_path_factory.mktemp("second home")
    subprocess.run(["cp", "-a", waiting[0] / "w", folder / "renamed w"], check=True)
    (waiting[0] / "w").rename(folder / "original")
    (folder / "here").mkdir()
    return folder


def test_it_is_reviewed_where_it_is_now(waiting, elsewhere):
    _, run_id = waiting

    listed = call("runs", "--workdir", "../renamed w", cwd=elsewhere / "here")
    reviewed = call("review", "--workdir", "../renamed w", "--no-open", cwd=elsewhere / "here")

    assert (listed.returncode, reviewed.returncode) == (0, 0), reviewed.stderr
    said = listed.stdout + listed.stderr
    assert f"Runs in {elsewhere}/renamed w" in said
    assert re.search(rf"^{run_id} +waiting ", said, re.MULTILINE)
    page = elsewhere / "renamed w/reports" / run_id / "review.html"
    assert page.stat().st_size > 10_000
    assert str(waiting[0]) not in reviewed.stdout + reviewed.stderr + page.read_text()


def test_a_run_of_the_same_inputs_comes_from_the_cache_and_names_folders_that_are_there(options, elsewhere):
    (elsewhere / "link").symlink_to(elsewhere / "original")

    again = call(*options, "--workdir", "../link", "--json", "result.json", cwd=elsewhere / "here")

    assert again.returncode == 0, again.stderr
    result = json.loads((elsewhere / "here/result.json").read_text())
    assert [node["node"] for node in result["nodes"] if not node["cached"]] == []
    assert result["verdict"] == "waiting"
    # No version is in serving yet.
    assert [name for name, path in result["folders"].items() if not Path(path).exists()] == ["serving"]
    assert {Path(path).is_relative_to(elsewhere / "original") for path in result["folders"].values()} == {True}


def test_it_is_approved_run_again_and_rolled_back_where_it_is_now(waiting, elsewhere):
    _, run_id = waiting
    moved = WorkDir.at(elsewhere / "renamed w")

    approved = call("approve", run_id, "--by", "Ada", "--workdir", "renamed w", cwd=elsewhere)

    assert approved.returncode == 0, approved.stderr
    (version,) = versions(moved.serving)
    result = read_result(moved, run_id)
    assert (result.verdict, result.serving_version) == ("pushed", str(version))
    assert result.folders["serving"] == str(moved.serving)
    model = moved.path(candidate_of_run(moved, run_id).uri) / "Format-Serving"
    push(model, moved.serving, Provenance(by="Eve", login="eve@host"), keep=5)
    back = call("rollback", "--by", "Ada", "--workdir", "renamed w", cwd=elsewhere)
    assert back.returncode == 0, back.stderr
    assert f"rolled back to version {version}, by Ada" in back.stdout + back.stderr
    assert (elsewhere / "original/serving").exists() is False, "the copy changed what it was copied from"


def test_what_a_work_folder_stores_names_no_place_outside_of_it(waiting, elsewhere):
    first_home = os.fsencode(waiting[0])
    folder = elsewhere / "renamed w"
    shutil.rmtree(folder / "logs")
    naming = [path for path in folder.rglob("*") if path.is_file() and first_home in path.read_bytes()]
    # The index of a corpus names its root; both are written anew by the next run.
    assert {path.relative_to(folder).parts[0] for path in naming} <= {"speaker_index.json", "reports", "clips"}
    assert not any(path.name in ("run.json", "outcome.json", "metadata.db") for path in naming)
