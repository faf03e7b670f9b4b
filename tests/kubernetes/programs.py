# SPDX-License-Identifier: Apache-2.0
"""etcd and Kubernetes' own programs, built from the modules of `go.mod` through the Go module proxy."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from processes import CACHE

MODULE = Path(__file__).parent
PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}


def build_programs() -> dict[str, Path]:
    """The programs by name, built into the cache where they are not there (some minutes, 2 GB of Go's build cache)."""
    wanted = hashlib.sha256((MODULE / "go.sum").read_bytes()).hexdigest()[:16]
    folder = CACHE / "kubernetes" / wanted
    programs = {name: folder / name for name in PACKAGES}
    if not folder.exists():
        shutil.rmtree(folder.parent, ignore_errors=True)
        unfinished = folder.with_suffix(".unfinished")
        for name, package in PACKAGES.items():
            print(f"building {package} into {folder}")
            build = ["go", "build", "-mod=readonly", "-p", "2", "-ldflags=-s -w", "-o", unfinished / name, package]
            subprocess.run(build, cwd=MODULE, env={**os.environ, "CGO_ENABLED": "0"}, check=True, timeout=3600)
        unfinished.rename(folder)
    return programs
