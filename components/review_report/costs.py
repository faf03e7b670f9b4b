# SPDX-License-Identifier: Apache-2.0
"""The table of what the candidate and the model in serving take."""

from collections.abc import Callable

from components.review_report.inputs import ReportInputs

NAMES: dict[str, tuple[str, Callable[[float], str]]] = {
    "num_bytes": ("SavedModel", lambda value: f"{value / 1e6:.2f} MB"),
    "parameters": ("parameters", lambda value: f"{value:,.0f}"),
    "cpu_ms_per_s": ("CPU for a second of audio", lambda value: f"{value:.1f} ms"),
    "latency_ms": ("answer to one clip", lambda value: f"{value:.0f} ms"),
}


def columns(inputs: ReportInputs) -> list[str]:
    """The table's head; a ratio only where both models were measured in one process."""
    costs = inputs.serving_check.costs if inputs.serving_check else None
    beside = [inputs.baseline_name, "ratio"] if costs and costs.baseline else []
    return ["cost", inputs.candidate_name, *beside]


def rows(inputs: ReportInputs) -> list[list[str]]:
    """The table's rows; none where nothing was measured."""
    costs = inputs.serving_check.costs if inputs.serving_check else None
    if costs is None:
        return []
    found = []
    for key, (name, shown) in NAMES.items():
        row = [name, shown(getattr(costs.candidate, key))]
        if costs.baseline and costs.ratios:
            row += [shown(getattr(costs.baseline, key)), f"{getattr(costs.ratios, key):.2f}"]
        found.append(row)
    return found
