# SPDX-License-Identifier: Apache-2.0
"""The product's image, built from what git knows of this checkout, and kept as an archive for the node."""

import hashlib
import subprocess
from pathlib import Path

import stand_in
from engine import REVISION, Engine
from oci import ROOT
from processes import CACHE

TAG = "audio-gender:test"
COPIED = (
    *("LICENSE", "README.md", "beam_jobs", "components", "k8s/image", "locks", "pipeline", "pyproject.toml"),
    *("requirements.lock", "tools/bootstrap.lock"),
)
"""What the Dockerfile copies, or is made by."""


def build(engine: Engine) -> None:
    """Builds it as `TAG` (some minutes), on a base that stands for the registry's."""
    root = stand_in.make_root(engine.folder / "base")
    engine.base(root, "stand-in:test", stand_in.ENVIRONMENT)
    root.unlink()
    dockerfile, log = ROOT / "k8s/image/Dockerfile", CACHE / "image-build.log"
    engine.build(dockerfile, _context(engine.folder / "context"), TAG, "stand-in:test", REVISION, log)


def archive() -> Path:
    """Where this checkout's image is kept as an OCI archive: the name changes with whatever is copied into it."""
    digest = hashlib.sha256()
    for name in _files(*COPIED):
        digest.update(f"{name}\n".encode() + (ROOT / name).read_bytes())
    return CACHE / f"image-{digest.hexdigest()[:16]}.tar"


def export(engine: Engine) -> None:
    """Keeps the image that was built, and no older one."""
    kept = archive()
    for old in CACHE.glob("image-*.tar"):
        old.unlink()
    unfinished = engine.folder / "image.tar"
    engine.export(TAG, unfinished, kept.stem.removeprefix("image-"))
    unfinished.rename(kept)


def _files(*paths: str) -> list[str]:
    command = ["git", "ls-files", "-z", "--", *paths]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    return sorted(filter(None, listed.split("\0")))


def _context(folder: Path) -> Path:
    """What git knows of the checkout: a build from a clean clone."""
    folder.mkdir()
    names, pack = "\0".join(_files()).encode(), ["tar", "-c", "--null", "-T", "-"]
    packed = subprocess.run(pack, cwd=ROOT, input=names, capture_output=True, check=True, timeout=60)
    subprocess.run(["tar", "-x", "-C", folder], input=packed.stdout, check=True, timeout=60)
    return folder
