# SPDX-License-Identifier: Apache-2.0
"""Argo Workflows, which Kubeflow runs its steps with: programs and definitions, through the Go module proxy."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from processes import CACHE

MODULE = "github.com/argoproj/argo-workflows/v4@v4.0.5"
PROGRAMS = ("workflow-controller", "argoexec")
DEFINITIONS = "manifests/base/crds/minimal"


def module() -> Path:
    """The module's folder."""
    download = ["go", "mod", "download", "-json", MODULE]
    return Path(json.loads(subprocess.run(download, stdout=subprocess.PIPE, check=True, timeout=600).stdout)["Dir"])


def build_argo() -> dict[str, Path]:
    """Its programs by name, built into the cache if they are not there (some minutes)."""
    folder = CACHE / "argo" / MODULE.rpartition("@")[2]
    programs = {name: folder / name for name in PROGRAMS}
    if not all(path.exists() for path in programs.values()):
        source = folder / "source"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(module(), source, copy_function=shutil.copyfile)
        for path in [source, *source.rglob("*/")]:
            path.chmod(0o755)
        # A link in the repository, and Go leaves links out of modules.
        signals = source / "workflow/executor/osspecific"
        shutil.copy(signals / "signal_darwin.go", signals / "signal_linux.go")
        for name, program in programs.items():
            print(f"building {name} of {MODULE} into {folder}")
            build = ["go", "build", "-mod=mod", "-p", "2", "-ldflags=-s -w", "-o", program, f"./cmd/{name}"]
            subprocess.run(build, cwd=source, env={**os.environ, "CGO_ENABLED": "0"}, check=True, timeout=3600)
        shutil.rmtree(source)
    return programs
