# SPDX-License-Identifier: Apache-2.0
"""The console command in a process of its own or in this one, and what its last line says."""

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from pipeline import cli

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "pipeline")
CONFIG = """\
clips:
  duration_s: 1
  sample_rate_hz: 8000
  num_clips: {train: 4, eval: 2, test: 2}
  clips_per_shard: 2
  max_utterances: 2
  pause_s: {min: 0, max: 0}
train:
  crop_s: 1
"""


def environment(**changes: str) -> dict[str, str]:
    """This process's, with the code under test first on the path."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, **changes}


def call(*arguments: str | Path, before: Sequence[str] = (), **changes: str) -> subprocess.CompletedProcess[str]:
    """Runs `audio-gender`, behind the words `before`, with changes of its environment."""
    return subprocess.run(
        [*before, *COMMAND, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        env=environment(**changes),
        timeout=600,
    )


def call_here(*arguments: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, where one of its own is not the point: the libraries, seconds to import, are here already."""
    words, out, err = ["audio-gender", *map(str, arguments)], io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", words)
        for name, value in changes.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    return subprocess.CompletedProcess(words, int(stopped.value.code or 0), out.getvalue(), err.getvalue())


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a command refuses, without `error: `."""
    assert (done.returncode, done.stdout) == (2, ""), done
    *progress, line = done.stderr.splitlines()
    assert line.startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr
    assert not [text for text in progress if text.startswith("error")], done.stderr
    return line.removeprefix("error: ")


def open_to_all(path: Path) -> bool:
    """Whether every user can come to `path`, which is not so under /root or in a home of its owner's own."""
    return all(folder.stat().st_mode & 0o001 for folder in path.absolute().parents)
