# SPDX-License-Identifier: Apache-2.0
"""The Model artifact of ServingBaseline: one version of the serving folder, or none."""

from tfx.dsl.io import fileio
from tfx.types import Artifact
from tfx.utils import path_utils

VERSION_PROPERTY = "serving_version"
NO_MODEL_FILE = "NO_MODEL_IN_SERVING"


def baseline_path(model: Artifact) -> str | None:
    """The SavedModel's folder in a Model artifact of ServingBaseline, None where no model was in serving."""
    return None if fileio.exists(f"{model.uri}/{NO_MODEL_FILE}") else str(path_utils.serving_model_path(model.uri))


def serving_version(model: Artifact) -> str | None:
    """The version that a Model artifact of ServingBaseline holds, None for the empty one."""
    return model.get_string_custom_property(VERSION_PROPERTY) or None
