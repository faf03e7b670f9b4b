# SPDX-License-Identifier: Apache-2.0
"""Where an image cannot be built, `make test-image` says why."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_machine_without_the_tools_is_told_which(tmp_path: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        Path(__file__).with_name("test_built_image.py"),
    ]
    environment = {**os.environ, "RUN_IMAGE": "1", "PATH": str(tmp_path)}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    assert done.returncode == 2
    asked = [line for line in done.stdout.splitlines() if "make test-image needs " in line]
    assert len(asked) == 1
    assert "buildah, runc, mmdebstrap (apt-get install buildah runc mmdebstrap)" in asked[0]
