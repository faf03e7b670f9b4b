"""Reading an evaluation: metrics by slice, and the verdict with its reason in words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow_model_analysis as tfma

from beam_jobs.examples import LABEL, MODE, NUM_SPEAKERS

SHORT_NAMES = {LABEL: "label", MODE: "mode", NUM_SPEAKERS: "speakers"}


def metrics_by_slice(evaluation_uri: str, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Reads the candidate's metrics by slice; the slices are named as by `slice_name`.

    Each holds `clips`, `accuracy`, `confusion_matrix` (rows: label, columns: prediction) and `auc` by class; a figure that is
    not defined on a slice (AUC where only one class is) is None.
    """
    slices = tfma.load_eval_result(evaluation_uri, model_name="candidate").slicing_metrics
    if not slices:  # TFMA drops the name of a model that is the only one
        slices = tfma.load_eval_result(evaluation_uri).slicing_metrics
    return {
        slice_name(key, classes): _metrics(outputs[""], classes)
        for key, outputs in sorted(slices, key=lambda item: (len(item[0]), str(item[0])))
    }


def _metrics(by_class: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    overall = by_class[""]
    matrix = overall["multi_class_confusion_matrix_at_thresholds"]["multiClassConfusionMatrixAtThresholds"]
    cells = [[0] * len(classes) for _ in classes]
    for entry in matrix["matrices"][0]["entries"]:
        predicted = entry.get("predictedClassId", 0)
        if predicted >= 0:  # TFMA's -1: no probability is above 0, as of a model that scores NaN
            cells[entry.get("actualClassId", 0)][predicted] = round(entry["numWeightedExamples"])
    # TFMA gives 0 for the AUC of a class that all clips of a slice have, or none has; it is not defined there.
    with_label = [sum(row) for row in cells]
    auc = {
        name: _number(by_class[f"classId:{number}"]["auc"]) if 0 < with_label[number] < sum(with_label) else None
        for number, name in enumerate(classes)
    }
    return {
        "clips": round(overall["clips"]["doubleValue"]),
        "accuracy": _number(overall["accuracy"]),
        "auc": auc,
        "confusion_matrix": cells,
    }


def _number(value: Mapping[str, Any]) -> float | None:
    number = float(value.get("doubleValue", math.nan))
    return number if math.isfinite(number) else None


def slice_name(key: Sequence[tuple[str, Any]], classes: Sequence[str]) -> str:
    """A slice in words: `all`, `label=female`, `mode=sequential`."""
    parts = []
    for feature, value in key:
        text = value.decode() if isinstance(value, bytes) else str(value)
        parts.append(f"{SHORT_NAMES.get(feature, feature)}={classes[int(text)] if feature == LABEL else text}")
    return ", ".join(parts) or "all"


def failures(evaluation_uri: str, classes: Sequence[str]) -> list[str]:
    """The thresholds that did not hold, in words; empty for a model that may be pushed."""
    result = tfma.load_validation_result(evaluation_uri)
    found = []
    # TFMA gives the slices in no particular order; the one over all clips comes first.
    for by_slice in sorted(result.metric_validations_per_slice, key=lambda item: str(item.slice_key)):
        where = slice_name([(key.column, _value(key)) for key in by_slice.slice_key.single_slice_keys], classes)
        found += [f"{_metric_name(failure, classes)} on {where} {_bound(failure)}" for failure in by_slice.failures]
    found += [f"no clip of slice {' '.join(str(missing).split())}" for missing in result.missing_slices]
    if not result.validation_ok and not found:
        found.append("no threshold was checked")
    return found


def _value(key: Any) -> Any:
    return getattr(key, key.WhichOneof("kind"))


def _metric_name(failure: Any, classes: Sequence[str]) -> str:
    sub_key = failure.metric_key.sub_key
    suffix = f" of {classes[sub_key.class_id.value]}" if sub_key.HasField("class_id") else ""
    return f"{failure.metric_key.name}{suffix}"


def _bound(failure: Any) -> str:
    value = failure.metric_value.double_value.value
    if failure.metric_threshold.HasField("change_threshold") and failure.metric_key.is_diff:
        return f"is {-value:.4f} below the model now in serving"
    return f"is {value:.4f}, below {failure.metric_threshold.value_threshold.lower_bound.value:g}"
