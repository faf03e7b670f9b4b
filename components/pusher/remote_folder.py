# SPDX-License-Identifier: Apache-2.0
"""A serving folder on an object store (`gs://`, and what else TensorFlow's file system layer reaches).

An object store renames no folder. So `saved_model.pb`, without which a model server does not take a version for a model, is
written last, and removed first. What differs from a local folder: pushes at the same time are not kept apart, and a version
that was removed by hand is only remembered where a greater one is left (numbers are seconds since 1970, so an equal one would
have to come within a second).
"""

import tempfile
import time
from pathlib import Path, PurePosixPath

import tensorflow as tf

from beam_jobs.errors import UserError
from beam_jobs.folders import files_below
from components.model_digest import PROVENANCE_FILE, SIGNATURE_FILE, model_digest
from components.pusher.provenance import Provenance
from components.pusher.serving_folder import CHANGED, now
from components.pusher.versions import is_version
from components.signing import sign

MODEL_FILE = "saved_model.pb"


def versions_remote(serving: str) -> list[int]:
    """The whole versions that are there, ascending."""
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(serving)] if tf.io.gfile.isdir(serving) else []
    return sorted(int(name) for name in names if is_version(name) and tf.io.gfile.exists(f"{serving}/{name}/{MODEL_FILE}"))


def push_remote(source: Path, serving: str, provenance: Provenance, keep: int, private_key: Path | None = None) -> Provenance:
    """Does what `serving_folder.push` does, as far as an object store can.

    Raises:
        UserError: the model is gone or was changed, or the key cannot be used.
    """
    if not (source / MODEL_FILE).is_file():
        raise UserError(f"{source}: has no SavedModel, so there is nothing to push; make a new run")
    digest = model_digest(source)
    if digest != (provenance.model_digest or digest):
        raise UserError(f"{source}: {CHANGED}; nothing was pushed")
    there = versions_remote(serving)
    version = max([int(time.time()), *(number + 1 for number in there)])
    filled = {
        "version": version,
        "model_version": provenance.model_version or version,
        "model_digest": digest,
        "pushed_at": now(),
    }
    provenance = provenance.model_copy(update=filled)
    target = f"{serving}/{version}"
    for name in (name for name in files_below(source) if name != MODEL_FILE):
        _copy(source / name, f"{target}/{name}")
    tf.io.gfile.makedirs(f"{target}/{PurePosixPath(PROVENANCE_FILE).parent}")
    with tf.io.gfile.GFile(f"{target}/{PROVENANCE_FILE}", "w") as file:
        file.write(provenance.model_dump_json(indent=1) + "\n")
    if private_key:
        with tempfile.TemporaryDirectory() as folder:
            signature = Path(folder, "model.sig")
            sign(source, private_key, signature)
            _copy(signature, f"{target}/{SIGNATURE_FILE}")
    _copy(source / MODEL_FILE, f"{target}/{MODEL_FILE}")
    for old in [*there, version][: -keep - 1]:
        tf.io.gfile.remove(f"{serving}/{old}/{MODEL_FILE}")
        tf.io.gfile.rmtree(f"{serving}/{old}")
    return provenance


def _copy(source: Path, target: str) -> None:
    tf.io.gfile.makedirs(target.rpartition("/")[0])
    tf.io.gfile.copy(str(source), target, overwrite=True)
