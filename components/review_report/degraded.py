# SPDX-License-Identifier: Apache-2.0
"""The table of figures on degraded clips."""

from typing import Any

from components.gate.result import METRIC_NAMES, Degraded, Estimate
from components.review_report.formatting import degradation_name
from components.review_report.inputs import ReportInputs
from components.robustness.config import DESCRIPTIONS


def shown(inputs: ReportInputs) -> dict[str, Any]:
    """What the template needs; no rows where degraded clips were not measured."""
    found = inputs.gate.robustness
    rows = found.rows if found else []
    beside = any(metric.baseline for row in rows for metric in row.metrics)
    unheard = any(row.no_speech or row.baseline_no_speech for row in rows)
    models = [inputs.candidate_name, *([inputs.baseline_name] if beside else [])]

    def both(row: Degraded, name: str) -> list[Estimate | None]:
        metric = next((metric for metric in row.metrics if metric.metric == name), None)
        return [getattr(metric, model, None) for model in ("candidate", "baseline")[: len(models)]]

    def columns(name: str) -> list[tuple[str, str]]:
        return [(name, model) for model in models] if beside else [(name, "")]

    not_measured: dict[str, list[str]] = {}
    for row in rows:
        if row.not_measured:
            not_measured.setdefault(row.not_measured, []).append(degradation_name(row))
    return {
        "not_measured": not_measured,
        "degraded_beside": beside,
        "robustness_columns": [
            ("degradation", ""),
            *columns(METRIC_NAMES["accuracy"]),
            *columns(METRIC_NAMES["ece"]),
            *(columns("no speech") if unheard else []),
        ],
        "robustness": [
            {
                "item": row,
                "name": degradation_name(row),
                "accuracies": both(row, "accuracy"),
                "errors": both(row, "ece"),
                "no_speech": [row.no_speech, row.baseline_no_speech][: len(models)] if unheard else [],
            }
            for row in rows
        ],
        "robustness_what": [
            (name.replace("_", " "), what) for name, what in DESCRIPTIONS.items() if any(row.degradation == name for row in rows)
        ],
    }
