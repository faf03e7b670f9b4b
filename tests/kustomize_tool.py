# SPDX-License-Identifier: Apache-2.0
"""kustomize (Apache-2.0), built once through the Go module proxy, for the tests that read what the manifests come to."""

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import CACHE
from session_work import locked

# The newest that Go 1.24 builds.
MODULE = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1"
PROGRAM = CACHE / "kustomize" / MODULE.rsplit("@", 1)[1] / "kustomize"


@functools.cache
def kustomize() -> Path:
    """The program, built into the cache if it is not there (about a minute). Skips the test where there is no Go."""
    if not PROGRAM.exists() and not shutil.which("go"):
        pytest.skip("needs Go: no `go` on the PATH")
    with locked(CACHE / "kustomize.lock"):
        if not PROGRAM.exists():
            print(f"building {MODULE} into {PROGRAM.parent}")
            build = ["go", "install", "-ldflags=-s -w", MODULE]
            subprocess.run(build, env={**os.environ, "GOBIN": str(PROGRAM.parent)}, check=True, timeout=900)
    return PROGRAM


def render(folder: Path) -> list[dict[str, Any]]:
    """The objects of `kustomize build FOLDER`, in its order."""
    built = subprocess.run([kustomize(), "build", folder], stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    return [document for document in yaml.safe_load_all(built.stdout) if document]
