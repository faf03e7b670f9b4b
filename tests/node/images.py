# SPDX-License-Identifier: Apache-2.0
"""Images for a node without a registry: programs that need nothing else, and this project's own image."""

import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import stand_in
from engine import REVISION, Engine
from processes import CACHE

if TYPE_CHECKING:
    from node_cluster import Cluster

ROOT = Path(__file__).parents[2]
PRODUCT = "audio-gender:local"
PROGRAMS = ("pause", "coredns", "kube-network-policies", "versitygw", "argoexec", "workflow-controller")
"""Programs that have an image `localhost/NAME:1` of their own."""
OF_IMAGE = ("requirements.lock", "locks", "tools/bootstrap.lock", "pyproject.toml", "README.md", "LICENSE", "k8s/image")
PACKAGES = ("beam_jobs", "components", "pipeline")


def load_programs(cluster: "Cluster") -> None:
    """An image from nothing for each of `PROGRAMS`."""
    for name in PROGRAMS:
        archive = cluster.folder / f"{name}.tar"
        _write_image(archive, cluster.programs[name], f"localhost/{name}:1", cluster.folder / "image")
        cluster.ctr("images", "import", archive)
        archive.unlink()


def load_product(cluster: "Cluster") -> None:
    """This checkout's image as `audio-gender:local`, built if the node has it not (some minutes, up to 17 GB of disk)."""
    reference, wanted = f"docker.io/library/{PRODUCT}", f"docker.io/library/audio-gender:{_digest()}"
    if wanted not in (known := cluster.ctr("images", "ls", "-q").stdout.split()):
        old = [image for image in known if image.startswith("docker.io/library/audio-gender")]
        if old:
            cluster.ctr("images", "rm", "--sync", *old)
        archive = CACHE / "node-image.tar"
        _build(archive, wanted.rpartition(":")[2])
        cluster.ctr("images", "import", "--base-name=docker.io/library/audio-gender", archive)
        archive.unlink()
    cluster.ctr("images", "tag", "--force", wanted, reference)


def _digest() -> str:
    """Of all that the Dockerfile copies."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *OF_IMAGE, *PACKAGES]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.split("\n")
    digest = hashlib.sha256()
    for name in sorted({name for name in names if (ROOT / name).is_file()}):
        digest.update(f"{name}\n".encode() + (ROOT / name).read_bytes())
    return digest.hexdigest()[:16]


def _build(archive: Path, tag: str) -> None:
    """The image that `make test-image` builds and looks at, as an archive."""
    engine = Engine(CACHE / "node-image")
    try:
        engine.base(stand_in.make_root(engine.folder / "base"), "stand-in:test", stand_in.ENVIRONMENT)
        context = engine.folder / "context"
        for name in (*OF_IMAGE, *PACKAGES):
            target = context / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, target)
        log = CACHE / "node-image-build.log"
        engine.build(ROOT / "k8s/image/Dockerfile", context, PRODUCT, "stand-in:test", REVISION, log)
        engine.export(PRODUCT, archive, tag)
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
