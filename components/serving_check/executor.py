# SPDX-License-Identifier: Apache-2.0
"""The work of ServingCheck: some clips, the check, what the models take, the result as an artifact."""

import json
from collections.abc import Collection
from typing import Any

import numpy as np
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils

from beam_jobs.clip_store import ClipsReference, ClipStore, read_reference
from components.serving_baseline.artifact import baseline_path
from components.serving_check.check import check_model
from components.serving_check.config import ServingCheckConfig
from components.serving_check.costs import measure_costs
from components.serving_check.result import RESULT_FILE
from components.trained_model import trained_model
from components.trainer.model_run import load_expected

SPLIT = "eval"
"""The Trainer has seen no other but this and train."""


class Executor(base_executor.BaseExecutor):
    """Executor of ServingCheck."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Writes the result; a model that fails is a refused one, not an error.

        Raises:
            UserError: the model was changed since it was trained.
        """
        model = str(trained_model(artifact_utils.get_single_instance(input_dict["model"])))
        expected = load_expected(artifact_utils.get_single_uri(input_dict["model_run"]))
        records = _records(read_reference(artifact_utils.get_single_uri(input_dict["clips"])), expected)
        budget = ServingCheckConfig(
            max_memory_mb=exec_properties["max_memory_mb"], max_seconds=float(exec_properties["max_seconds"])
        )
        probabilities = np.stack([expected[clip_id] for clip_id in records])
        result = check_model(model, list(records.values()), probabilities, json.loads(exec_properties["classes"]), budget)
        if result.ok:
            baseline = baseline_path(artifact_utils.get_single_instance(input_dict["baseline_model"]))
            costs, no_costs = measure_costs(model, baseline, list(records.values()), budget.max_seconds)
            result = result.model_copy(update={"costs": costs, "no_costs": no_costs})
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        # As TFX's InfraValidator says it.
        blessing.set_int_custom_property("blessed", int(result.ok))
        blessing.set_int_custom_property("has_model", 0)
        blessing.set_string_custom_property("reasons", json.dumps(result.reasons))
        fileio.makedirs(blessing.uri)
        with fileio.open(f"{blessing.uri}/{RESULT_FILE}", "w") as file:
            file.write(result.model_dump_json(indent=1))


def _records(reference: ClipsReference, ids: Collection[str]) -> dict[str, bytes]:
    """The records of these clips of the split, by id."""
    with ClipStore(reference) as store:
        found = store.records(SPLIT, ids)
    if missing := sorted(set(ids) - set(found)):
        raise RuntimeError(f"{reference.dataset_uri} lacks clips that the Trainer answered for: {missing}")
    return found
