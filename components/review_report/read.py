# SPDX-License-Identifier: Apache-2.0
"""Reading what the page is made from out of artifacts' folders."""

import csv
import math
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from beam_jobs.clip_store import ClipsReference, ClipStore
from beam_jobs.dataset import read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.examples import Clip, decode_clip
from beam_jobs.files import join, read_text
from components.evaluator.predictions import FOLDER, Predictions, read_predictions
from components.gate.result import RESULT_FILE, GateResult
from components.review_report.inputs import ReportInputs, heard
from components.serving_check.result import RESULT_FILE as SERVING_CHECK_FILE
from components.serving_check.result import ServingCheckResult
from components.trainer.model_run import OPERATING_POINT_FILE, OperatingPoint

TRAINING_FILE = "training.csv"
SPLIT = "test"
AGAIN = "make a new run"


def read_inputs(
    title: str,
    evaluation_uri: str,
    blessing_uri: str,
    clips: ClipsReference | None,
    model_run_uri: str,
    dataset_uri: str,
    config: Mapping[str, Any],
    baseline_config: Mapping[str, Any] | None,
    facts: Mapping[str, str],
    serving_check_uri: str | None = None,
) -> ReportInputs:
    """Reads one run's artifacts.

    Raises:
        UserError: a file that the page cannot do without is missing or damaged.
    """
    predictions, gate = predictions_of(evaluation_uri), gate_result_of(blessing_uri)
    return ReportInputs(
        title=title,
        gate=gate,
        predictions=predictions,
        dataset=read_dataset_info(dataset_uri),
        clips=clips_of(clips, heard(predictions, gate.classes)),
        history=history_of(model_run_uri),
        operating_point=operating_point_of(model_run_uri),
        config=config,
        baseline_config=baseline_config,
        facts=facts,
        serving_check=None if serving_check_uri is None else serving_check_of(serving_check_uri),
    )


def predictions_of(evaluation_uri: str) -> Predictions:
    """The raw predictions.

    Raises:
        UserError: they are not there or damaged.
    """
    try:
        return read_predictions(evaluation_uri)
    except OSError:
        raise UserError(f"{evaluation_uri}: no {FOLDER}/, an older version evaluated this model; {AGAIN}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{evaluation_uri}/{FOLDER}: damaged; {AGAIN}") from None


def gate_result_of(blessing_uri: str) -> GateResult:
    """What the gate found.

    Raises:
        UserError: it is not there or damaged.
    """
    try:
        return GateResult.model_validate_json(read_text(join(blessing_uri, RESULT_FILE)))
    except OSError:
        raise UserError(f"{blessing_uri}: no {RESULT_FILE}, an older version decided on this model; {AGAIN}") from None
    except ValidationError:
        raise UserError(f"{blessing_uri}/{RESULT_FILE}: damaged; {AGAIN}") from None


def serving_check_of(uri: str) -> ServingCheckResult | None:
    """What the serving check found; None where its file is gone or damaged, for a page without it is of use too."""
    try:
        return ServingCheckResult.model_validate_json(read_text(join(uri, SERVING_CHECK_FILE)))
    except (OSError, ValidationError):
        return None


def clips_of(reference: ClipsReference | None, ids: Collection[str]) -> dict[str, Clip]:
    """Some clips of the test split; none where the dataset is gone or another one, for a page without them is of use too.

    Raises:
        UserError: a shard is damaged.
    """
    if reference is None:
        return {}
    with ClipStore(reference) as store:
        return {clip_id: decode_clip(record) for clip_id, record in store.records(SPLIT, ids).items()}


def history_of(model_run_uri: str) -> list[dict[str, float]]:
    """The Trainer's table, one row an epoch from 1; empty where it left none. Cells that hold no number are left out."""
    try:
        lines = read_text(join(model_run_uri, TRAINING_FILE)).splitlines()
    except OSError:
        return []
    rows = ({name: _number(text) for name, text in row.items() if name} for row in csv.DictReader(lines))
    # A training that was resumed may have written an epoch twice.
    by_epoch = {row["epoch"]: row for row in rows if math.isfinite(row.get("epoch", math.nan))}
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


def operating_point_of(model_run_uri: str) -> OperatingPoint | None:
    """The decision thresholds that the Trainer chose on the eval split; None where it left none.

    Raises:
        UserError: its file is damaged.
    """
    try:
        return OperatingPoint.model_validate_json(read_text(join(model_run_uri, OPERATING_POINT_FILE)))
    except OSError:
        return None
    except ValidationError:
        raise UserError(f"{model_run_uri}/{OPERATING_POINT_FILE}: damaged; {AGAIN}") from None


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
