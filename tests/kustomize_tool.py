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

MODULE = "sigs.k8s.io/kustomize/kustomize/v5"
NEWEST = "v5.8.1"
"""That Go 1.24 builds."""
OLD = "v5.5.0"
"""That kubectl 1.32 brings."""


@functools.cache
def kustomize(version: str = NEWEST) -> Path:
    """The program, built into the cache if it is not there (about a minute). Skips the test where there is no Go."""
    program = CACHE / "kustomize" / version / "kustomize"
    if not program.exists() and not shutil.which("go"):
        pytest.skip("needs Go: no `go` on the PATH")
    with locked(CACHE / "kustomize.lock"):
        if not program.exists():
            print(f"building {MODULE}@{version} into {program.parent}")
            build = ["go", "install", "-ldflags=-s -w", f"{MODULE}@{version}"]
            subprocess.run(build, env={**os.environ, "GOBIN": str(program.parent)}, check=True, timeout=900)
    return program


def render(folder: Path, version: str = NEWEST) -> list[dict[str, Any]]:
    """The objects of `kustomize build FOLDER`, in its order."""
    built = subprocess.run([kustomize(version), "build", folder], stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    return [document for document in yaml.safe_load_all(built.stdout) if document]
