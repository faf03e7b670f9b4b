"""The work of ServingBaseline: copy a version into a Model artifact."""

from typing import Any

import tensorflow as tf
from tfx.dsl.components.base import base_executor
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils, path_utils

from beam_jobs.errors import UserError


class Executor(base_executor.BaseExecutor):
    """Executor of ServingBaseline."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Copies the version and records it on the artifact.

        Raises:
            UserError: what lies under that version is no SavedModel.
        """
        source = f"{exec_properties['serving_uri']}/{exec_properties['version']}"
        if not tf.saved_model.contains_saved_model(source):
            raise UserError(f"{source}: holds no SavedModel; remove it from the serving folder or restore the model")
        model = artifact_utils.get_single_instance(output_dict["model"])
        io_utils.copy_dir(source, path_utils.serving_model_dir(model.uri))
        model.set_string_custom_property("serving_version", exec_properties["version"])
