# SPDX-License-Identifier: Apache-2.0
"""The work of ReviewReport: read what the nodes before it left, draw the page, store it."""

import dataclasses
import json
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import Artifact, artifact_utils

from beam_jobs.clip_store import read_reference
from beam_jobs.files import absolute
from components.alarm import alarm_of
from components.pusher.provenance import code_revision
from components.review_report import facts, next_steps
from components.review_report.artifact import write_report
from components.review_report.page import render_report
from components.review_report.read import read_inputs
from components.run_config import used_config
from components.run_id import run_id
from components.trainer.model_run import load_spec


class Executor(base_executor.BaseExecutor):
    """Executor of ReviewReport."""

    def Do(  # noqa: N802 (TFX's name)
        self, input_dict: dict[str, list[Artifact]], output_dict: dict[str, list[Artifact]], exec_properties: dict[str, Any]
    ) -> None:
        """Writes the page.

        Raises:
            UserError: a file of the evaluation, the gate or the dataset is missing or damaged.
        """
        model_run_uri, dataset_uri = (
            artifact_utils.get_single_uri(input_dict["model_run"]),
            absolute(exec_properties["dataset_uri"]),
        )
        config = used_config(
            exec_properties["config"],
            epochs=load_spec(model_run_uri).train.epochs,
            push_mode=exec_properties["push_mode"],
            dataset_uri=exec_properties["dataset_uri"],
            corpus_uri=exec_properties.get("corpus_uri"),
        )
        inputs = read_inputs(
            title="Review of the candidate",
            evaluation_uri=artifact_utils.get_single_uri(input_dict["evaluation"]),
            blessing_uri=artifact_utils.get_single_uri(input_dict["blessing"]),
            clips=read_reference(artifact_utils.get_single_uri(input_dict["clips"])),
            model_run_uri=model_run_uri,
            dataset_uri=dataset_uri,
            config=config,
            baseline_config=json.loads(exec_properties["baseline_config"]),
            facts={},
            serving_check_uri=artifact_utils.get_single_uri(input_dict["serving_check"]),
        )
        run, gate = run_id(self._context), inputs.gate
        alarm = alarm_of(exec_properties.get("alarm"))
        by_package = bool(exec_properties["decide_by_package"])
        inputs = dataclasses.replace(
            inputs,
            run_facts=facts.of_run(
                inputs, run, made=facts.now(), candidate="", code_revision=code_revision(), alarm=alarm.text if alarm else ""
            ),
            standing=next_steps.before_push(gate, run, exec_properties["push_mode"], by_package),
        )
        write_report(artifact_utils.get_single_instance(output_dict["report"]), render_report(inputs))
