# SPDX-License-Identifier: Apache-2.0
"""The work of ServingBaseline: find a version, look whether it is a model of this pipeline, copy it into a Model artifact."""

import json
import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils, path_utils

from beam_jobs.errors import UserError
from beam_jobs.files import absolute
from components.evaluator.signatures import CLASSES, check_signature
from components.pusher.versions import is_version
from components.serving_baseline.artifact import NO_MODEL_FILE, VERSION_PROPERTY

NEWEST = "newest"
LIKE_A_VERSION = re.compile(r"v?\d")
REMEDY = "remove it from the serving folder, or restore the model"


class Executor(base_executor.BaseExecutor):
    """Executor of ServingBaseline."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Copies the version and records it on the artifact.

        Raises:
            UserError: what lies under that version is no model of this pipeline.
        """
        serving_uri, version = absolute(exec_properties["serving_uri"]), exec_properties["version"]
        if version == NEWEST:
            version = newest_version(serving_uri) or ""
        model = artifact_utils.get_single_instance(output_dict["model"])
        model.set_string_custom_property(VERSION_PROPERTY, version)
        if not version:
            # An object store keeps no empty folder, and what is not there cannot be handed on.
            io_utils.write_string_file(f"{model.uri}/{NO_MODEL_FILE}", "")
            return
        source = f"{serving_uri}/{version}"
        check_served_model(source, json.loads(exec_properties["classes"]))
        io_utils.copy_dir(source, path_utils.serving_model_dir(model.uri))


def newest_version(serving_uri: str) -> str | None:
    """The newest version in the serving folder, None where there is no version at all.

    Raises:
        UserError: a version holds no model, or a model lies under a name that no model server would take for a version.
    """
    if not fileio.isdir(serving_uri):
        return None
    versions = []
    for entry in sorted(map(str, fileio.listdir(serving_uri))):
        name = entry.rstrip("/")
        folder = f"{serving_uri}/{name}"
        if name.startswith(".") or not fileio.isdir(folder):
            continue
        if not is_version(name):
            if LIKE_A_VERSION.match(name) or tf.saved_model.contains_saved_model(folder):
                raise UserError(
                    f"{folder}: looks like a version, and versions are numbers without leading zeros; rename it, or {REMEDY}"
                )
            continue
        if not tf.saved_model.contains_saved_model(folder):
            raise UserError(f"{folder}: holds no SavedModel; {REMEDY}")
        versions.append(name)
    return max(versions, key=int, default=None)


def check_served_model(folder: str, classes: Sequence[str]) -> None:
    """Makes sure that a SavedModel can be compared with a candidate of this pipeline.

    Raises:
        UserError: it cannot be loaded, does not answer, or has other classes.
    """
    try:
        waveform = check_signature(folder, len(classes)).get("waveform")
        if waveform is None:
            raise UserError(f"{folder}: the model has no signature waveform")
        outputs = _predict(folder, waveform)
        if CLASSES not in outputs:
            raise UserError(f"{folder}: the model does not name its classes")
        found = [name.decode() for name in outputs[CLASSES].numpy().ravel()]
        if found != list(classes):
            raise UserError(f"{folder}: the model's classes are {', '.join(found)}, not {', '.join(classes)}")
    except UserError as error:
        raise UserError(f"the model in serving is not one of this pipeline's: {error}; {REMEDY}") from None


def _predict(folder: str, waveform: Any) -> dict[str, tf.Tensor]:
    try:
        outputs: dict[str, tf.Tensor] = waveform(tf.zeros([1, 1]))
    except Exception as error:  # whatever a graph from elsewhere may do
        raise UserError(f"{folder}: the signature waveform does not answer ({str(error).splitlines()[0][:200]})") from None
    return outputs
