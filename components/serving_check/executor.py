"""The work of ServingCheck: some test clips, the check, its result as an artifact."""

import json
from itertools import islice
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx.utils import path_utils

from beam_jobs.errors import UserError
from beam_jobs.examples import read_records
from components.serving_check.check import check_model
from components.serving_check.config import ServingCheckConfig
from components.serving_check.expected import expected_predictions
from components.serving_check.result import RESULT_FILE, ServingCheckResult

SPLIT = "test"
NUM_CLIPS = 8


class Executor(base_executor.BaseExecutor):
    """Executor of ServingCheck."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Writes the result; a model that fails is a refused one, not an error.

        Raises:
            UserError: the test split holds no clips.
        """
        model = path_utils.serving_model_path(artifact_utils.get_single_instance(input_dict["model"]).uri)
        records = _first_records(input_dict["examples"], NUM_CLIPS)
        budget = ServingCheckConfig(
            max_memory_mb=exec_properties["max_memory_mb"], max_seconds=float(exec_properties["max_seconds"])
        )
        expected = expected_predictions(artifact_utils.get_single_uri(input_dict["evaluation"]), records)
        result = check_model(model, records, expected, json.loads(exec_properties["classes"]), budget)
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        # As TFX's InfraValidator says it.
        blessing.set_int_custom_property("blessed", int(result.ok))
        blessing.set_int_custom_property("has_model", 0)
        blessing.set_string_custom_property("reasons", json.dumps(result.reasons))
        fileio.makedirs(blessing.uri)
        with fileio.open(f"{blessing.uri}/{RESULT_FILE}", "w") as file:
            file.write(result.model_dump_json(indent=1))


def _first_records(examples: list[Artifact], number: int) -> list[bytes]:
    folder = artifact_utils.get_split_uri(examples, SPLIT)
    records: list[bytes] = []
    for name in sorted(fileio.listdir(folder)):
        with fileio.open(f"{folder}/{name!s}", "rb") as file:
            records += islice(read_records(file), number - len(records))
    if not records:
        raise UserError(f"the {SPLIT} split holds no clips; set clips.num_clips.{SPLIT} to at least 1")
    return records


def read_result(uri: str) -> ServingCheckResult:
    """Reads the result from the folder of an InfraBlessing artifact that ServingCheck made."""
    with fileio.open(f"{uri}/{RESULT_FILE}", "r") as file:
        return ServingCheckResult.model_validate_json(file.read())
