# SPDX-License-Identifier: Apache-2.0
"""The clock that `benchmarks.fortnight` gives to the commands: moved while a process runs, and harmless to everything else."""

import datetime
import os
import subprocess
import sys
import time
from pathlib import Path

import benchmarks

FOLDER = Path(benchmarks.__path__[0]) / "fast_clock"
PROGRAM = """
import datetime, time
from components.pusher.trials import Decision
from pipeline.outcome import now
import pandas

def times():
    return [datetime.datetime.fromtimestamp(time.time(), datetime.UTC).isoformat(), now(), Decision.now(1, "promoted", "").when]

begun = time.monotonic()
print(*times())
open({clock!r}, "w").write("86400")
print(*times(), time.monotonic() - begun < 60, isinstance(datetime.datetime.now(), datetime.datetime))
"""


def test_the_clock_of_a_process_is_moved_while_it_runs(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("-864000")
    environment = {**os.environ, "PYTHONPATH": str(FOLDER), "FAST_CLOCK": str(clock)}
    command = [sys.executable, "-c", PROGRAM.format(clock=str(clock))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=FOLDER.parents[1])
    assert done.returncode == 0, done.stderr
    before, after = (line.split() for line in done.stdout.splitlines())
    assert after[3:] == ["True", "True"]
    for shown, ahead_s in ((before, -864_000), (after[:3], 86_400)):
        for text in shown:
            assert abs(datetime.datetime.fromisoformat(text).timestamp() - time.time() - ahead_s) < 300
