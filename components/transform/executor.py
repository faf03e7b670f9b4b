# SPDX-License-Identifier: Apache-2.0
"""The work of Transform: TFX's, on artifacts that Beam's workers reach."""

from typing import Any

import tensorflow as tf
from tfx.components.transform import executor
from tfx.types import Artifact

import components.installed_workers  # noqa: F401 (a fault of TFX's executors)
from beam_jobs.console import say
from beam_jobs.running import temp_location
from components.staging import staged

HERE = ["--runner=DirectRunner", "--direct_running_mode=in_memory"]


class Executor(executor.Executor):
    """Executor of Transform."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Analyzes the training split and writes the graph.

        Workers hand each other TensorFlow graphs, in files that TensorFlow itself opens; that knows no `s3://`. With such a
        temporary location the analysis, a mean of one number a clip, is made in this process.
        """
        location = temp_location(self._beam_pipeline_args) or ""
        scheme = location.partition("://")[0] if "://" in location else ""
        if scheme not in tf.io.gfile.get_registered_schemes():
            say(f"Transform runs in its own process: TensorFlow cannot open {scheme}://, which --temp_location names")
            self._beam_pipeline_args = [*HERE]
        with staged(self._beam_pipeline_args, input_dict["examples"], output_dict["transform_graph"]):
            super().Do(input_dict, output_dict, exec_properties)
