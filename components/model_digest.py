# SPDX-License-Identifier: Apache-2.0
"""What a SavedModel is, byte by byte. Light: what tells versions apart loads no TensorFlow for it."""

import hashlib
from pathlib import Path

from beam_jobs.folders import files_below

MODEL_DIGEST = "model_digest"
"""The Trainer's property of its Model: `model_digest` of the SavedModel."""
PROVENANCE_FILE = "assets.extra/provenance.json"
"""SavedModel's folder for what others add; model servers do not read it."""
SIGNATURE_FILE = "assets.extra/model.sig"
"""Of a version that was signed when it was pushed (`components.signing`)."""
NOT_THE_MODEL = (PROVENANCE_FILE, SIGNATURE_FILE)
"""What is written beside a model when it comes into serving, and is no part of it."""


def model_digest(folder: Path) -> str:
    """SHA-256 over names and contents of a SavedModel's files, without what is `NOT_THE_MODEL`."""
    digest = hashlib.sha256()
    for name in files_below(folder):
        path = folder / name
        if name not in NOT_THE_MODEL and path.is_file():
            digest.update(f"{name}\n{path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()
