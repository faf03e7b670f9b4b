# SPDX-License-Identifier: Apache-2.0
"""Images for a node without a registry: programs that need nothing else, and this project's own image."""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import product
from engine import Engine
from processes import CACHE

if TYPE_CHECKING:
    from node_cluster import Cluster

PRODUCT = "audio-gender:local"
PROGRAMS = ("pause", "coredns", "kube-network-policies", "versitygw", "argoexec", "workflow-controller")
"""Programs that have an image `localhost/NAME:1` of their own."""


def load_programs(cluster: "Cluster") -> None:
    """An image from nothing for each of `PROGRAMS`."""
    for name in PROGRAMS:
        archive = cluster.folder / f"{name}.tar"
        _write_image(archive, cluster.programs[name], f"localhost/{name}:1", cluster.folder / "image")
        cluster.ctr("images", "import", archive)
        archive.unlink()


def load_product(cluster: "Cluster") -> None:
    """This checkout's image as `audio-gender:local`: the one that `make test-image` kept, else built (some minutes)."""
    archive = product.archive()
    reference, wanted = f"docker.io/library/{PRODUCT}", f"docker.io/library/audio-gender:{archive.stem.removeprefix('image-')}"
    if wanted not in (known := cluster.ctr("images", "ls", "-q").stdout.split()):
        old = [image for image in known if image.startswith("docker.io/library/audio-gender")]
        if old:
            cluster.ctr("images", "rm", "--sync", *old)
        if not archive.exists():
            _build()
        cluster.ctr("images", "import", "--base-name=docker.io/library/audio-gender", archive)
    cluster.ctr("images", "tag", "--force", wanted, reference)


def _build() -> None:
    engine = Engine(CACHE / "image")
    try:
        product.build(engine)
        product.export(engine)
    finally:
        engine.close()


def _write_image(archive: Path, program: Path, reference: str, folder: Path) -> None:
    """An image of one layer with one program, `/NAME`, as `docker save` writes it."""
    folder.mkdir()
    try:
        with tarfile.open(folder / "layer.tar", "w") as layer:
            for name in ("tmp", "etc", "var", "run"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
                layer.addfile(entry)
            layer.add(program, program.name)
        digest = hashlib.sha256((folder / "layer.tar").read_bytes()).hexdigest()
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"], "Env": ["PATH=/"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        (folder / "config.json").write_text(json.dumps(config))
        manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
        (folder / "manifest.json").write_text(json.dumps(manifest))
        with tarfile.open(archive, "w") as tar:
            for name in ("manifest.json", "config.json", "layer.tar"):
                tar.add(folder / name, name)
    finally:
        shutil.rmtree(folder)
