# SPDX-License-Identifier: Apache-2.0
"""etcd and Kubernetes' own programs, built from the modules of a `go.mod` through the Go module proxy."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from processes import CACHE

MODULE = Path(__file__).parent
CONTROL_PLANE = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}


def build_programs(packages: Mapping[str, str] = CONTROL_PLANE, module: Path = MODULE) -> dict[str, Path]:
    """Static programs by name, each built into the cache if it is not there (some minutes, 2 GB of Go's build cache).

    Args:
        packages: what to build, by the programs' names.
        module: the folder whose `go.mod` says of which versions; its name is the cache's.
    """
    sources = sorted([module / "go.sum", *module.glob("*/main.go")])
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    folder = CACHE / module.name / wanted
    if not folder.exists():
        shutil.rmtree(folder.parent, ignore_errors=True)
    for name, package in packages.items():
        if not (folder / name).exists():
            print(f"building {package} into {folder}")
            unfinished = folder / f"{name}.unfinished"
            build = ["go", "build", "-mod=readonly", "-p", "2", "-ldflags=-s -w", "-o", unfinished, package]
            subprocess.run(build, cwd=module, env={**os.environ, "CGO_ENABLED": "0"}, check=True, timeout=3600)
            unfinished.rename(folder / name)
    return {name: folder / name for name in packages}
