# SPDX-License-Identifier: Apache-2.0
"""Temporary files of a process: gone at its end, and of a killed one at the start of the next."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import environment

from beam_jobs.surroundings import SCRATCH

GENERATED = "__autograph_generated_file*.py"
PROGRAM = """
import sys, tempfile, time
from beam_jobs.ending import one_line_ending
from beam_jobs.errors import UserError
with one_line_ending():
    import tensorflow as tf

    @tf.function
    def doubled(x):  # AutoGraph writes the code that it makes of this to a temporary file
        return x * 2 if tf.reduce_sum(x) > 0 else x

    doubled(tf.ones(3))
    tempfile.mkdtemp()
    print("ready", flush=True)
    if sys.argv[1] == "sleep":
        time.sleep(300)
    if sys.argv[1] == "mistake":
        raise UserError("a mistake")
"""


def start(folder: Path, what: str) -> subprocess.Popen[str]:
    script = folder / "program.py"
    script.write_text(PROGRAM)  # AutoGraph reads a function's source
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    command = [sys.executable, str(script), what]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment(TMPDIR=str(temporary))
    )


@pytest.mark.parametrize(
    ("what", "sent", "status"),
    [("end", None, 0), ("mistake", None, 2), ("sleep", signal.SIGTERM, 143), ("sleep", signal.SIGHUP, 129)],
)
def test_however_it_ends_nothing_is_left(tmp_path, what, sent, status):
    process = start(tmp_path, what)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    if sent:
        process.send_signal(sent)
    assert process.wait(60) == status
    assert list((tmp_path / "temporary").iterdir()) == []


def test_of_a_killed_process_the_next_one_removes_them_and_leaves_those_of_a_running_one(tmp_path):
    killed, running = start(tmp_path, "sleep"), start(tmp_path, "sleep")
    for process in (killed, running):
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    killed.kill()
    killed.wait()
    left = {path.name for path in (tmp_path / "temporary").iterdir()}
    assert len(left) == 2
    assert len(list((tmp_path / "temporary").glob(f"*/{GENERATED}"))) == 2

    assert start(tmp_path, "end").wait(120) == 0
    assert {path.name for path in (tmp_path / "temporary").iterdir()} == left, "young ones stay"
    code = "import beam_jobs.surroundings as s; s.REMAINS_AFTER_S = 0\nwith s.temporary_files(): pass"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(TMPDIR=str(tmp_path / "temporary")), timeout=60)

    (stays,) = (tmp_path / "temporary").iterdir()
    assert list(stays.glob(GENERATED))
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 143
    assert not stays.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="root alone can give a folder away")
def test_what_belongs_to_somebody_else_or_is_a_link_stays(tmp_path):
    other, link, target = (tmp_path / f"{SCRATCH}{name}" for name in ("other", "link", "target"))
    for folder in (other, target):
        folder.mkdir()
    (target / "file").write_text("")
    target.rename(tmp_path / "target")
    link.symlink_to(tmp_path / "target")
    os.chown(other, 12345, 12345)
    code = "import beam_jobs.surroundings as s; s.REMAINS_AFTER_S = 0\nwith s.temporary_files(): pass"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(TMPDIR=str(tmp_path)), timeout=60)
    assert other.is_dir() and (tmp_path / "target/file").exists()
