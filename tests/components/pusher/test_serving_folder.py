# SPDX-License-Identifier: Apache-2.0
"""The serving folder: whole versions only, ever greater, whatever is killed and whoever pushes at the same time."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from beam_jobs.errors import UserError
from components.model_digest import PROVENANCE_FILE, model_digest
from components.pusher.provenance import Provenance, code_revision, login
from components.pusher.serving_folder import push, read_provenance, roll_back, versions

PROVENANCE = Provenance(
    by="gate",
    login="ada@host",
    blessed=True,
    run_id="20261123-000000",
    dataset_fingerprint="d" * 64,
    config_digest="c" * 64,
    code_revision="git:abc",
)
NUM_FILES = 5
FORK = multiprocessing.get_context("fork")


def make_model(folder: Path, content: str = "a", kilobytes: int = 1) -> Path:
    """A folder with a SavedModel's file names, in which every file says `content`."""
    (folder / "variables").mkdir(parents=True)
    for number in range(NUM_FILES):
        (folder / "variables" / f"variables.data-{number:05d}").write_text(content * 1024 * kilobytes)
    (folder / "saved_model.pb").write_text(content * 1024)
    return folder


def is_whole(folder: Path) -> bool:
    """Whether a version is all there, and all of one model."""
    files = [*(folder / "variables").iterdir(), folder / "saved_model.pb"]
    contents = {path.read_text()[:1] + path.read_text()[-1:] for path in files}
    provenance = json.loads((folder / PROVENANCE_FILE).read_text())
    return len(files) == NUM_FILES + 1 and len(contents) == 1 and provenance["version"] > 0


def hidden(serving: Path) -> set[str]:
    return {path.name for path in serving.iterdir() if path.name.startswith(".")}


def in_clean_process(name: str, *paths: Path) -> dict:
    """Calls a function of this file in a new process: to fork one that has TensorFlow's threads may block for ever."""
    code = f"import json, sys, test_serving_folder as t; print(json.dumps(t.{name}(*map(t.Path, sys.argv[1:]))))"
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def push_repeatedly(model: Path, serving: Path, times: int) -> None:
    for _ in range(times):
        push(model, serving, PROVENANCE, keep=3)


def test_a_pushed_version_is_the_model_with_its_provenance(tmp_path):
    model, serving = make_model(tmp_path / "model"), tmp_path / "serving"

    stored = push(model, serving, PROVENANCE, keep=5)

    folder = serving / str(stored.version)
    assert is_whole(folder)
    assert read_provenance(serving, stored.version) == stored
    assert stored.model_digest == model_digest(model) == model_digest(folder)
    assert (stored.version, stored.run_id) == (stored.model_version, PROVENANCE.run_id)
    assert abs(stored.version - time.time()) < 60
    assert stored.pushed_at.endswith("+00:00")
    assert hidden(serving) == {".lock", ".highest_version"}


def test_versions_grow_though_the_newest_was_removed_by_hand(tmp_path):
    model, serving = make_model(tmp_path / "model"), tmp_path / "serving"
    (serving / "4000000000").mkdir(parents=True)  # of a clock that was wrong
    first = push(model, serving, PROVENANCE, keep=5).version
    (serving / str(first)).rename(tmp_path / "removed")
    (serving / "4000000000").rmdir()

    assert (first, push(model, serving, PROVENANCE, keep=5).version) == (4000000001, 4000000002)


@pytest.mark.parametrize("keep", [0, 2])
def test_so_many_old_versions_are_kept_and_folders_that_are_no_versions(tmp_path, keep):
    model, serving = make_model(tmp_path / "model"), tmp_path / "serving"
    (serving / "notes").mkdir(parents=True)
    pushed = [push(model, serving, PROVENANCE, keep).version for _ in range(4)]

    assert pushed == sorted(set(pushed))
    assert versions(serving) == pushed[-keep - 1 :]
    assert (serving / "notes").is_dir()


@pytest.mark.parametrize("name", ["007", "1.5", "-3", "¹²", "tmp", "99999999999999999999"])
def test_what_is_no_version_is_none(tmp_path, name):
    (tmp_path / name).mkdir()
    assert versions(tmp_path) == []


def test_a_model_that_is_gone_pushes_nothing(tmp_path):
    with pytest.raises(UserError, match="has no SavedModel"):
        push(tmp_path / "nowhere", tmp_path / "serving", PROVENANCE, keep=5)
    assert not (tmp_path / "serving").exists()


def two_pushers_and_a_reader(serving: Path, *models: Path) -> dict:
    pushers = [FORK.Process(target=push_repeatedly, args=(model, serving, 12)) for model in models]
    for process in pushers:
        process.start()
    seen, spoilt = set(), []
    while any(process.is_alive() for process in pushers):
        for version in versions(serving)[-2:]:
            seen.add(version)
            try:
                if not is_whole(serving / str(version)):
                    spoilt.append(version)
            except FileNotFoundError:  # removed while it was read: it must be gone as a whole
                if version in versions(serving):
                    spoilt.append(version)
    for process in pushers:
        process.join()
    return {"statuses": [process.exitcode for process in pushers], "spoilt": spoilt, "seen": len(seen)}


def test_two_pushes_at_once_do_not_clash_and_a_polling_reader_never_sees_half_a_version(tmp_path):
    serving, models = tmp_path / "serving", [make_model(tmp_path / content, content, 64) for content in "ab"]

    found = in_clean_process("two_pushers_and_a_reader", serving, *models)

    assert found["statuses"] == [0, 0]
    assert found["spoilt"] == []
    assert found["seen"] >= 4
    assert len(versions(serving)) == 4
    assert all(is_whole(serving / str(version)) for version in versions(serving))


def push_and_die(model: Path, serving: Path, moment: int) -> None:
    """Pushes, and is killed at the so-manieth change of a file or folder in the serving folder."""
    changes = {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.copyfile", "shutil.rmtree"}
    seen = 0

    def count(event: str, arguments: tuple) -> None:
        nonlocal seen
        if event in changes and any(str(serving) in str(argument) for argument in arguments):
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    push(model, serving, PROVENANCE, keep=1)


def kill_at_every_moment(model: Path, serving: Path) -> dict:
    before = versions(serving)
    left_behind, moments, status = set(), 0, -signal.SIGKILL
    while status == -signal.SIGKILL:
        moments += 1
        process = FORK.Process(target=push_and_die, args=(model, serving, moments))
        process.start()
        process.join()
        status = process.exitcode
        there = versions(serving)
        assert there[-1] >= before[-1]
        assert all(is_whole(serving / str(version)) for version in there)
        before = there
        left_behind |= {name.rstrip("0123456789") for name in hidden(serving)}
    return {"status": status, "moments": moments, "left_behind": sorted(left_behind)}


def test_a_push_that_is_killed_at_any_moment_leaves_no_half_version_and_the_next_one_cleans_up(tmp_path):
    model, serving = make_model(tmp_path / "model", "b"), tmp_path / "serving"
    for content in "xy":
        push(make_model(tmp_path / content, content), serving, PROVENANCE, keep=1)

    found = in_clean_process("kill_at_every_moment", model, serving)

    assert found["status"] == 0
    assert found["moments"] > 3 * NUM_FILES
    assert {".coming-", ".going-"} < set(found["left_behind"])  # it was killed while it copied, and while it removed
    assert hidden(serving) == {".lock", ".highest_version"}
    assert len(versions(serving)) == 2


# Rollback.


@pytest.fixture
def three(tmp_path) -> tuple[Path, list[int]]:
    """A serving folder with three versions."""
    serving = tmp_path / "serving"
    return serving, [push(make_model(tmp_path / name, name), serving, PROVENANCE, keep=9).version for name in "abc"]


def content(serving: Path, version: int) -> str:
    return (serving / str(version) / "saved_model.pb").read_text()[0]


def back(serving: Path, version: int | None = None) -> Provenance:
    return roll_back(serving, version, "Ada", "ada@host", "too many false alarms")


def test_a_rollback_is_a_new_version_that_is_a_copy_of_the_one_before(three):
    serving, (first, second, third) = three

    stored = back(serving)

    assert versions(serving) == [first, second, third, stored.version]
    assert content(serving, stored.version) == "b"
    assert model_digest(serving / str(stored.version)) == model_digest(serving / str(second))
    assert (stored.action, stored.by, stored.rolled_back_to) == ("rolled back", "Ada", second)
    assert (stored.login, stored.note) == ("ada@host", "too many false alarms")
    assert (stored.run_id, stored.blessed, stored.model_version) == (PROVENANCE.run_id, True, second)
    assert read_provenance(serving, stored.version) == stored


def test_a_second_rollback_goes_one_model_further_back(three):
    serving, (first, *_) = three
    back(serving)
    assert content(serving, back(serving).version) == "a"

    with pytest.raises(UserError, match=f"no version before the model now in serving; there are {first}, "):
        back(serving)


def test_a_version_can_be_named(three):
    serving, (first, *_) = three
    assert content(serving, back(serving, first).version) == "a"


def test_what_cannot_be_rolled_back_to_is_told_with_the_versions_that_there_are(three, tmp_path):
    serving, there = three
    listed = ", ".join(map(str, there))
    with pytest.raises(UserError, match=f"no version 7; there are {listed}$"):
        back(serving, 7)
    with pytest.raises(UserError, match=f"version {there[-1]} is in serving now; earlier ones are {there[0]}, {there[1]}$"):
        back(serving, there[-1])
    with pytest.raises(UserError, match="no version is in serving"):
        back(tmp_path / "empty")
    assert versions(serving) == there


def test_a_version_that_was_changed_since_is_not_put_back(three):
    serving, (first, *_) = three
    (serving / str(first) / "saved_model.pb").write_text("changed")
    with pytest.raises(UserError, match="its files were changed after they were pushed"):
        back(serving, first)


def test_a_version_of_something_else_can_be_put_back(three):
    serving, _ = three
    make_model(serving / "5", "z")

    stored = back(serving, 5)

    assert content(serving, stored.version) == "z"
    assert (stored.rolled_back_to, stored.model_version, stored.run_id) == (5, 5, "")


# Who and what.


def test_the_code_revision_and_the_login_are_there():
    assert code_revision().startswith(("git:", "sha256:"))


def test_an_image_says_what_it_was_built_from(monkeypatch):
    monkeypatch.setenv("CODE_REVISION", "abc-dirty")
    code_revision.cache_clear()
    assert code_revision() == "git:abc-dirty"
    code_revision.cache_clear()
    assert "@" in login()
