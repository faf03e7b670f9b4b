# SPDX-License-Identifier: Apache-2.0
"""Reading TFMA's metrics."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow_model_analysis as tfma

from beam_jobs.examples import LABEL
from components.evaluator.clip_metrics import Key
from components.evaluator.metrics import CLIPS
from components.evaluator.predictions import CANDIDATE
from components.evaluator.slices import ALL, FEATURES


def read_metrics(evaluation_uri: str, classes: Sequence[str], model: str = CANDIDATE) -> dict[str, dict[Key, float | None]]:
    """A model's metrics by slice (`all`, `label=female`, …), keyed as in `components.evaluator.clip_metrics`.

    `clips` is among them. A figure that is not defined on a slice (AUC where only one class is) or is no number is None.
    """
    slices = tfma.load_eval_result(evaluation_uri, model_name=model).slicing_metrics
    if not slices and model == CANDIDATE:  # TFMA drops the name of a model that is the only one
        slices = tfma.load_eval_result(evaluation_uri).slicing_metrics
    return {slice_name(key, classes): _metrics(outputs[""], len(classes)) for key, outputs in slices}


def _metrics(by_class: Any, num_classes: int) -> dict[Key, float | None]:
    found: dict[Key, float | None] = {(name, None): _number(by_class[""][name]) for name in (CLIPS, "accuracy", "ece")}
    for number in range(num_classes):
        for name in ("auc", "recall"):
            found[name, number] = _number(by_class[f"classId:{number}"][name])
    return found


def _number(value: Any) -> float | None:
    number = float(value.get("doubleValue", math.nan))
    return number if math.isfinite(number) else None


def slice_name(key: Sequence[tuple[str, Any]], classes: Sequence[str]) -> str:
    """A slice in words: `all`, `label=female`, `mode=sequential`, `loudness=-30..-24 dBFS`."""
    parts = []
    for feature, value in key:
        text = value.decode() if isinstance(value, bytes) else str(value)
        parts.append(f"{FEATURES.get(feature, feature)}={classes[int(text)] if feature == LABEL else text}")
    return ", ".join(parts) or ALL
