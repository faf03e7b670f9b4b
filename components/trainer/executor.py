# SPDX-License-Identifier: Apache-2.0
"""The executor of Trainer: what this run says goes into the TrainingSpec, the rest is TFX's."""

from pathlib import Path
from typing import Any

from tfx.components.trainer.executor import GenericExecutor
from tfx.types import Artifact, artifact_utils
from tfx.utils import json_utils, path_utils

from beam_jobs.clip_store import read_reference
from beam_jobs.config import validate
from components.clip_example_gen.artifact import DATASET_FINGERPRINT
from components.model_digest import MODEL_DIGEST, model_digest
from components.run_id import run_id
from components.trainer.spec import TrainingSpec
from components.trainer.workers.protocol import CHECKPOINTS


class Executor(GenericExecutor):
    """Executor of Trainer."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Trains and exports the network.

        Raises:
            UserError: the spec is not valid, or as `components.trainer.run_fn.run_fn`.
        """
        spec = validate(TrainingSpec, json_utils.loads(exec_properties["custom_config"]), "custom_config")
        spec = spec.with_values({"train.epochs": exec_properties["epochs"]})
        if spec.shared_folder:
            # A step that is tried again in the same run resumes; another run begins anew.
            spec = spec.model_copy(update={"checkpoints": f"{spec.shared_folder}/{run_id(self._context)}/{CHECKPOINTS}"})
        clips = read_reference(artifact_utils.get_single_uri(input_dict["clips"]))
        spec = spec.model_copy(update={"clips": clips})
        model = artifact_utils.get_single_instance(output_dict["model"])
        # For the Pusher, which says what its model was made of.
        model.set_string_custom_property(DATASET_FINGERPRINT, clips.fingerprint)
        super().Do(input_dict, output_dict, {**exec_properties, "custom_config": spec.model_dump_json()})
        model.set_string_custom_property(MODEL_DIGEST, model_digest(Path(path_utils.serving_model_path(model.uri))))
