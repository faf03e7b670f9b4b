# SPDX-License-Identifier: Apache-2.0
"""The work of Gate: read what was found, decide, bless."""

import json
from typing import Any

from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_executor
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils

from components.evaluator.predictions import BASELINE, read_predictions
from components.evaluator.results import read_metrics
from components.gate.config import GateConfig
from components.gate.decide import decide
from components.gate.result import RESULT_FILE, GateResult
from components.robustness.scores import read_scores
from components.serving_baseline.artifact import serving_version
from components.verdict import log_verdict

REASONS_PROPERTY = "reasons"


class Executor(base_executor.BaseExecutor):
    """Executor of Gate."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Writes the result and the blessing.

        Raises:
            UserError: as `components.gate.decide.decide`.
        """
        evaluation = artifact_utils.get_single_uri(input_dict["evaluation"])
        baseline = artifact_utils.get_single_instance(input_dict["baseline_model"])
        classes = json.loads(exec_properties["classes"])
        predictions = read_predictions(evaluation)
        result = decide(
            GateConfig.model_validate_json(exec_properties["config"]),
            classes,
            predictions,
            read_metrics(evaluation, classes),
            None if predictions.baseline is None else read_metrics(evaluation, classes, BASELINE),
            serving_version(baseline),
            [text for artifact in input_dict.get("serving_check", []) for text in serving_failures(artifact)],
            read_scores(artifact_utils.get_single_uri(input_dict["robustness"])) if input_dict.get("robustness") else None,
        )
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        log_verdict("blessed by the gate" if result.blessed else f"refused by the gate: {'; '.join(result.reasons)}")
        _bless(blessing, result, artifact_utils.get_single_instance(input_dict["model"]), baseline)


def serving_failures(artifact: Artifact) -> list[str]:
    """Why an InfraBlessing refuses a model, in words; empty where it does not."""
    reasons: list[str] = json.loads(artifact.get_string_custom_property(REASONS_PROPERTY) or "[]")
    if not reasons and artifact.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY) != constants.BLESSED_VALUE:
        reasons = ["did not bless the model"]
    return [f"serving check: {reason}" for reason in reasons]


def _bless(blessing: Artifact, result: GateResult, model: Artifact, baseline: Artifact) -> None:
    # File and properties as TFX's Evaluator writes them, for whatever reads a ModelBlessing.
    io_utils.write_string_file(f"{blessing.uri}/{RESULT_FILE}", result.model_dump_json(indent=1))
    file = constants.BLESSED_FILE_NAME if result.blessed else constants.NOT_BLESSED_FILE_NAME
    io_utils.write_string_file(f"{blessing.uri}/{file}", "")
    value = constants.BLESSED_VALUE if result.blessed else constants.NOT_BLESSED_VALUE
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if result.baseline_version:
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id)
