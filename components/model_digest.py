"""What a SavedModel is, byte by byte. Light: what tells versions apart loads no TensorFlow for it."""

import hashlib
from pathlib import Path

MODEL_DIGEST = "model_digest"
"""The Trainer's property of its Model: `model_digest` of the SavedModel."""
PROVENANCE_FILE = "assets.extra/provenance.json"
"""SavedModel's folder for what others add; model servers do not read it."""


def model_digest(folder: Path) -> str:
    """SHA-256 over names and contents of a SavedModel's files, without its provenance."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != PROVENANCE_FILE:
            digest.update(f"{name}\n{path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()
