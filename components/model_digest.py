"""What a SavedModel is, byte by byte. Light: what tells versions apart loads no TensorFlow for it."""

import hashlib
from pathlib import Path

from beam_jobs.folders import files_below

MODEL_DIGEST = "model_digest"
"""The Trainer's property of its Model: `model_digest` of the SavedModel."""
PROVENANCE_FILE = "assets.extra/provenance.json"
"""SavedModel's folder for what others add; model servers do not read it."""


def model_digest(folder: Path) -> str:
    """SHA-256 over names and contents of a SavedModel's files, without its provenance."""
    digest = hashlib.sha256()
    for name in files_below(folder):
        path = folder / name
        if name != PROVENANCE_FILE and path.is_file():
            digest.update(f"{name}\n{path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()
