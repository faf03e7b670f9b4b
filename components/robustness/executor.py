# SPDX-License-Identifier: Apache-2.0
"""The work of Robustness: both models, the clips, the scores as an artifact."""

import json
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import Artifact, artifact_utils

from beam_jobs.clip_store import read_reference
from components.evaluator.predictions import BASELINE, CANDIDATE
from components.robustness.config import RobustnessConfig
from components.robustness.measure import measure
from components.robustness.scores import write_scores
from components.serving_baseline.artifact import baseline_path
from components.trained_model import trained_model


class Executor(base_executor.BaseExecutor):
    """Executor of Robustness."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Asks the candidate, and beside it the model in serving where there is one.

        Raises:
            UserError: the test split is empty, or a model was changed or does not answer as a model of this pipeline does.
        """
        baseline = baseline_path(artifact_utils.get_single_instance(input_dict["baseline_model"]))
        candidate = str(trained_model(artifact_utils.get_single_instance(input_dict["model"])))
        scores = measure(
            read_reference(artifact_utils.get_single_uri(input_dict["clips"])),
            {CANDIDATE: candidate} | ({BASELINE: baseline} if baseline else {}),
            RobustnessConfig.model_validate_json(exec_properties["config"]),
            json.loads(exec_properties["classes"]),
            exec_properties["seed"],
        )
        write_scores(scores, artifact_utils.get_single_uri(output_dict["scores"]))
