# SPDX-License-Identifier: Apache-2.0
"""The executor of Tuner: TFX's, which is told where the clips are."""

from typing import Any

from tfx.components.tuner import executor
from tfx.types import Artifact, artifact_utils
from tfx.utils import json_utils

from beam_jobs.clip_store import read_reference


class Executor(executor.Executor):
    """Executor of Tuner."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Runs the search of `components.tuner.tuner_fn.tuner_fn`.

        Raises:
            UserError: as that.
        """
        clips = read_reference(artifact_utils.get_single_uri(input_dict["clips"]))
        spec = {**json_utils.loads(exec_properties["custom_config"]), "clips": clips.model_dump(mode="json")}
        super().Do(input_dict, output_dict, {**exec_properties, "custom_config": json_utils.dumps(spec)})
