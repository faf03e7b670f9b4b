# SPDX-License-Identifier: Apache-2.0
"""Charts that are drawn of figures that lie close together."""

import re

import pytest

from components.review_report import charts


@pytest.mark.parametrize("value", [0.0, 0.0187, 0.5, 1.0])
def test_the_axis_of_equal_values_says_what_they_are(value):
    rows = [{"run": run, "metric": "ECE", "value": value, "marked": False, "test": "one"} for run in ("A", "B", "C")]
    svg = charts.over_runs(rows, ["A", "B", "C"], ["ECE"])
    ticks = [float(text) for text in re.findall(r">(\d(?:\.\d+)?)</text>", svg)]
    assert len(ticks) >= 3 and min(ticks) <= value <= max(ticks) <= min(ticks) + 0.05
