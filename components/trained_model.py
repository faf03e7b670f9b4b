# SPDX-License-Identifier: Apache-2.0
"""The Trainer's model, byte by byte as it was trained: the one that is pushed is the one that was measured."""

from pathlib import Path

from tfx.types import Artifact
from tfx.utils import path_utils

from beam_jobs.errors import UserError
from components.model_digest import MODEL_DIGEST, model_digest


def trained_model(artifact: Artifact) -> Path:
    """As `unchanged_model`, of a Trainer's Model."""
    return unchanged_model(artifact.uri, artifact.get_string_custom_property(MODEL_DIGEST))


def unchanged_model(uri: str, digest: str) -> Path:
    """The folder of a SavedModel whose files are those that the Trainer wrote.

    Args:
        uri: of its Model artifact.
        digest: what the Trainer said of it, `MODEL_DIGEST`.

    Raises:
        UserError: they were changed, or are gone.
    """
    model = Path(path_utils.serving_model_path(uri))
    if not (model / "saved_model.pb").is_file():
        raise UserError(f"{model}: the model is gone; make a new run")
    if model_digest(model) != digest:
        raise UserError(f"{model}: its files were changed after the training; make a new run")
    return model
