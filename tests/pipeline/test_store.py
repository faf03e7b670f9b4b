# SPDX-License-Identifier: Apache-2.0
"""A metadata store that cannot be used is said in one line, with how to go on, and nothing is lost.

All of them are real files: what SQLite, `dd` and ML Metadata's own migration leave behind.
"""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from ml_metadata import downgrade_schema
from small_demo import SMALL

from pipeline import store
from pipeline.config import load_config
from pipeline.runs import list_runs

LOCK = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute(sys.argv[2])
print("locked", flush=True)
time.sleep(600)
"""


def cut(workdir):
    os.truncate(workdir.metadata, workdir.metadata.stat().st_size // 2)


def cut_within_a_page(workdir):
    os.truncate(workdir.metadata, workdir.metadata.stat().st_size - 1000)


def random_bytes(workdir):
    workdir.metadata.write_bytes(random.Random(0).randbytes(50_000))


def flipped_in_the_middle(workdir):
    content = bytearray(workdir.metadata.read_bytes())
    content[4096:12_288] = bytes(8192)
    workdir.metadata.write_bytes(content)


def emptied(workdir):
    workdir.metadata.write_bytes(b"")


def deleted(workdir):
    workdir.metadata.unlink()


def a_folder(workdir):
    workdir.metadata.unlink()
    workdir.metadata.mkdir()


def of_an_older_schema(workdir):
    downgrade_schema(workdir.connection(), 8)


def of_a_newer_schema(workdir):
    with closing(sqlite3.connect(workdir.metadata)) as database, database:
        database.execute("UPDATE MLMDEnv SET schema_version = 11")


def of_another_program(workdir):
    workdir.metadata.unlink()
    with closing(sqlite3.connect(workdir.metadata)) as database, database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")


FAULTS = {
    cut: "damaged (",
    cut_within_a_page: "damaged (",
    random_bytes: "damaged (file is not a database)",
    flipped_in_the_middle: "damaged (",
    emptied: "empty, and ",
    deleted: "gone, and ",
    a_folder: "cannot be used (",
    of_an_older_schema: "cannot be opened (schema version 8, and this program reads version 10)",
    of_a_newer_schema: "cannot be opened (schema version 11, and this program reads version 10)",
    of_another_program: "a database of another program, not a metadata store",
}


@pytest.fixture
def run_again(root, workdir):
    """A function that starts a run by the console command's own function; its error."""
    from beam_jobs.errors import UserError
    from pipeline.run import run

    def again() -> str:
        with pytest.raises(UserError) as error:
            run(load_config(root / "pipeline/configs/demo.yaml", SMALL), None, workdir.root)
        return str(error.value)

    return again


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_store_that_cannot_be_used(command, make_run, run_again, workdir, read_folder, fault):
    run_id = make_run("waiting")
    fault(workdir)
    before = read_folder(workdir.root)

    lines = []
    for arguments in (["runs"], ["approve", run_id, "--by", "Ada"], ["reject", run_id, "--by", "Ada", "--note", "x"]):
        status, said = command(*arguments)
        lines += [line.removeprefix("error: ") for line in said.splitlines() if line.startswith("error: ")]
        assert status == 2
    lines.append(run_again())

    assert len(lines) == 4
    assert {line.startswith(f"{workdir.metadata}: {FAULTS[fault]}") for line in lines} == {True}, lines
    # Nothing is lost, and nothing half made is left.
    assert {name: content for name, content in read_folder(workdir.root).items() if name != ".lock"} == before


@pytest.mark.parametrize("fault", [random_bytes, deleted], ids=lambda fault: fault.__name__)
def test_the_command_that_the_line_names_makes_the_next_run_possible(make_run, run_again, workdir, fault):
    make_run("waiting")
    fault(workdir)
    command = run_again().split("`")[1]

    subprocess.run(command, shell=True, check=True)

    assert store.check_store(workdir) is None
    assert (workdir.root / "old/tfx/Trainer").is_dir()
    # Its result is still known.
    assert [run.verdict for run in list_runs(workdir)] == ["waiting"]


@pytest.mark.parametrize("statement", ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE"])
def test_a_store_that_another_process_has_locked(command, make_run, run_again, workdir, monkeypatch, statement):
    monkeypatch.setattr(store, "WAIT_FOR_LOCK_S", 0.2)
    make_run("waiting")
    with subprocess.Popen([sys.executable, "-c", LOCK, workdir.metadata, statement], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "locked\n"
            status, said = command("runs")
            again = run_again()
        finally:
            other.kill()
    expected = f"{workdir.metadata}: locked by another process; end it (`fuser {workdir.metadata}` names it), then try again"
    assert (status, said, again) == (2, f"error: {expected}\n", expected)
    assert command("runs")[0] == 0


def test_a_rollback_is_made_and_said_where_only_its_record_cannot_be(command, workdir, model):
    from components.pusher.provenance import Provenance
    from components.pusher.serving_folder import push, versions

    first, second = (push(model, workdir.serving, Provenance(by="gate", login="x@y"), keep=5).version for _ in range(2))
    workdir.metadata.write_bytes(b"no database" * 500)

    status, said = command("rollback", "--by", "Ada")

    assert (status, len(versions(workdir.serving))) == (2, 3)
    newest = versions(workdir.serving)[-1]
    assert f"error: rolled back to version {first}, in serving as version {newest}; but this could not be recorded: " in said
    assert second in versions(workdir.serving)
    shutil.rmtree(workdir.serving)
