# SPDX-License-Identifier: Apache-2.0
"""Push, approval, rejection, rollback and the removal of old versions, killed anywhere, alone and all at the same time.

Every version is whole, no decision is lost, the same command again ends the work, and nothing stays behind.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_serving_folder import FORK, PROVENANCE, hidden, is_whole, make_model

from beam_jobs.errors import UserError
from components.decision.decide import approve, reject
from components.model_digest import model_digest
from components.pusher.pending import Candidate, keep_pending, pending_candidate, pending_runs
from components.pusher.serving_folder import push, read_provenance, roll_back, versions
from components.pusher.withdrawn import read_withdrawn

ADA = {"by": "Ada", "login": "ada@host", "note": "heard it"}
CHANGES = {"open", "os.rename", "os.mkdir", "shutil.copyfile", "shutil.rmtree"}
REMOVALS = {"os.remove", "os.rmdir"}
"""Of `shutil.rmtree`, which names no folder there."""


def waits(models: Path, serving: Path, run_id: str, content: str) -> None:
    model = models / content
    known = PROVENANCE.model_copy(update={"run_id": run_id, "model_digest": model_digest(model)})
    newest = str(versions(serving)[-1])
    keep_pending(model, serving, Candidate(provenance=known, compared_with=newest, waiting_for="review"))


ACTIONS: dict[str, Callable[[Path, Path], object]] = {
    "push": lambda models, serving: push(models / "p", serving, PROVENANCE, keep=1),
    "keep": lambda models, serving: waits(models, serving, "r1", "w"),
    "approve": lambda models, serving: approve(serving, "r1", ADA, False, 1, None),
    "reject": lambda models, serving: reject(serving, "r1", ADA),
    "rollback": lambda models, serving: roll_back(serving, None, ADA["by"], ADA["login"], ADA["note"]),
}


def start_state(folder: Path) -> tuple[Path, Path]:
    """Models `a`, `b` in serving, `w` waiting, `p` to be pushed."""
    models, serving = folder / "models", folder / "serving"
    for content in "abwp":
        make_model(models / content, content)
    for content in "ab":
        push(models / content, serving, PROVENANCE, keep=1)
    waits(models, serving, "r1", "w")
    return models, serving


def act(action: str, models: Path, serving: Path, moment: int) -> None:
    """Does it, and is killed at the so-manieth change of a file or folder in the serving folder."""
    seen = 0

    def count(event: str, arguments: tuple) -> None:
        nonlocal seen
        if event in REMOVALS or (event in CHANGES and any(str(serving) in str(argument) for argument in arguments)):
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        ACTIONS[action](models, serving)
    except UserError as error:
        sys.stderr.write(f"{action}: {error}\n")
        os._exit(2)


def check(models: Path, serving: Path) -> None:
    """What always holds."""
    there = versions(serving)
    assert there, "nothing is in serving"
    for version in there:
        assert is_whole(serving / str(version)), version
        assert read_provenance(serving, version).model_digest == model_digest(serving / str(version))
    read_withdrawn(serving)
    for run in pending_runs(serving):
        model, candidate = pending_candidate(serving, run)
        assert model_digest(model) == candidate.provenance.model_digest


def remains(serving: Path) -> set[str]:
    pending = serving / ".waiting"
    inner = {f".waiting/{path.name}" for path in pending.iterdir()} if pending.is_dir() else set()
    return (hidden(serving) | inner) - {".lock", ".highest_version", ".withdrawn.json", ".waiting"}


def exit_status(action: str, models: Path, before: Path, serving: Path, moment: int) -> int | None:
    """Of a process that acts on a copy of a serving folder and is killed at some moment, if it is not done by then."""
    shutil.copytree(before, serving)
    process = FORK.Process(target=act, args=(action, models, serving, moment))
    process.start()
    process.join()
    return process.exitcode


def kill_at_every_moment(action: str, folder: Path) -> dict:
    models, before = start_state(folder)
    moments, killed, outcomes, left = 0, -signal.SIGKILL, set(), set()
    while killed == -signal.SIGKILL:
        moments += 1
        serving = folder / f"serving-{moments}"
        killed = exit_status(action, models, before, serving, moments)
        check(models, serving)
        assert versions(serving)[-1] >= versions(before)[-1]
        left |= {name.rstrip("0123456789") for name in remains(serving)}
        if killed == -signal.SIGKILL:
            if action == "rollback" and read_provenance(serving, versions(serving)[-1]).action == "rolled back":
                pass  # done: whether it is given again is for the work folder to know, which has the record
            else:
                ACTIONS[action](models, serving)
            check(models, serving)
        newest = read_provenance(serving, versions(serving)[-1])
        withdrawn = read_withdrawn(serving).get(model_digest(models / ("b" if action == "rollback" else "w")))
        outcomes.add((newest.action, newest.run_id, withdrawn.action if withdrawn else "", " ".join(pending_runs(serving))))
        push(models / "p", serving, PROVENANCE, keep=9)
        assert remains(serving) == {f".waiting/{run}" for run in pending_runs(serving)}
        shutil.rmtree(serving)
    return {"status": killed, "moments": moments, "outcomes": sorted(outcomes), "left": sorted(left)}


def kill_all_at_once(folder: Path, seed: str) -> dict:
    models, serving = start_state(folder)
    draw, deaths, ends, running = random.Random(int(seed)), 0, 0, {}
    deadline = time.monotonic() + 40
    while deaths < 150 and time.monotonic() < deadline:
        for action in ACTIONS:
            if action not in running:
                running[action] = FORK.Process(target=act, args=(action, models, serving, draw.randint(1, 40)))
                running[action].start()
        for action, process in list(running.items()):
            process.join(0.01)
            if process.exitcode is not None:
                deaths += process.exitcode == -signal.SIGKILL
                ends += process.exitcode in (0, 2)
                assert process.exitcode in (0, 2, -signal.SIGKILL), action
                del running[action]
        assert versions(serving), "nothing is in serving"
    for process in running.values():
        process.kill()
        process.join()
    check(models, serving)
    push(models / "p", serving, PROVENANCE, keep=1)
    check(models, serving)
    assert remains(serving) == {f".waiting/{run}" for run in pending_runs(serving)}
    return {"deaths": deaths, "ends": ends, "versions": len(versions(serving))}


def in_clean_process(name: str, *arguments: str | Path, module: str = "test_killed") -> dict:
    """To fork a process that has TensorFlow's threads may block for ever."""
    code = (
        f"import json, sys, pathlib, {module} as t; f = getattr(t, sys.argv[1]); a = sys.argv[2:];"
        "print(json.dumps(f(*[pathlib.Path(x) if '/' in x else x for x in a])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name, *map(str, arguments)],
        cwd=Path(__file__).parent, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


AFTER = {
    # What is newest in serving and of which run, what is withdrawn, and which runs wait.
    "push": ["pushed", PROVENANCE.run_id, "", "r1"],
    "keep": ["pushed", PROVENANCE.run_id, "", "r1"],
    "approve": ["approved", "r1", "", ""],
    "reject": ["pushed", PROVENANCE.run_id, "rejected", ""],
    "rollback": ["rolled back", PROVENANCE.run_id, "rolled back", "r1"],
}


@pytest.mark.parametrize("action", ACTIONS)
def test_whenever_it_is_killed_nothing_is_half_and_the_same_again_ends_the_work(tmp_path, action):
    found = in_clean_process("kill_at_every_moment", action, tmp_path)
    assert found["status"] == 0
    assert found["moments"] > 10
    assert found["outcomes"] == [AFTER[action]]
    assert found["left"], "it was never killed while it copied or removed"


def test_all_of_them_at_once_killed_anywhere(tmp_path):
    found = in_clean_process("kill_all_at_once", tmp_path, "7")
    assert found["deaths"] > 50
    assert found["ends"] > 5
    assert found["versions"] == 2
