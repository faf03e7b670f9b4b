# SPDX-License-Identifier: Apache-2.0
"""The tutorial is typed, block by block, as it stands in docs/tutorial.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import environment

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs/tutorial.md"
BLOCKS = re.findall(r"```bash\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.skipif(not os.environ.get("RUN_TASKS"), reason="three whole runs: make test-tasks")
def test_every_block_of_the_tutorial_works(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="needs espeak-ng: make setup-dev")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    # As after `. .venv/bin/activate`, but of the code under test.
    for name, words in {"audio-gender": "-m pipeline", "python3": ""}.items():
        (bin_folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (bin_folder / name).chmod(0o755)
    script = "set -euo pipefail\nset -m\n" + "\n".join(f"echo '### block {n}'\n{block}" for n, block in enumerate(BLOCKS, 1))

    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment(PATH=f"{bin_folder}{os.pathsep}{os.environ['PATH']}", USER="me"),
        capture_output=True,
        text=True,
        timeout=1800,
    )

    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    assert f"### block {len(BLOCKS)}" in done.stdout
    assert '"label"' in done.stdout and "rolled back" in done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"listen.html", "report.html", "work", "voices.yaml"}


def test_the_tutorial_has_its_blocks() -> None:
    commands = {command for block in BLOCKS for command in re.findall(r"^audio-gender (\w+)", block, re.MULTILINE)}
    assert commands >= {"corpus", "config", "run", "review", "predict", "serve", "runs", "approve", "rollback"}
