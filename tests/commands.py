"""The console command in a process of its own, and what its last line says."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

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
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


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


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a command refuses, without `error: `."""
    assert (done.returncode, done.stdout) == (2, ""), done
    *progress, line = done.stderr.splitlines()
    assert line.startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr
    assert not [text for text in progress if text.startswith("error")], done.stderr
    return line.removeprefix("error: ")
