# SPDX-License-Identifier: Apache-2.0
"""The report as one self-contained HTML page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from beam_jobs.html_pages import TEMPLATES as BASE_TEMPLATES
from beam_jobs.html_pages import label_colors
from components.gate.result import Check, Compared, GateResult, Slice, metric_name
from components.review_report import costs, degraded, drawings, facts, operating_point
from components.review_report.cards import cards_of, suspect_cards
from components.review_report.formatting import (
    LOWER_IS_BETTER,
    accuracy_of,
    counts,
    decimal,
    direction,
    interval,
    is_defined,
    signed,
    signed_interval,
    the,
)
from components.review_report.headline import status, tone
from components.review_report.inputs import ReportInputs, config_diff, flat
from components.review_report.speakers import speaker_table

TEMPLATES = Path(__file__).parent / "templates"
MAX_BYTES = 5_000_000
MAX_SPEAKERS = 12
MAX_REASONS = 6
NUM_TIGHTEST = 5
"""Thresholds that are shown at once where all hold."""


def render_report(inputs: ReportInputs) -> str:
    """The page as text, less than `MAX_BYTES` of UTF-8.

    Raises:
        ValueError: the page is larger all the same.
    """
    loader = jinja2.FileSystemLoader([TEMPLATES, BASE_TEMPLATES])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "decimal": decimal,
        "signed": signed,
        "interval": interval,
        "signed_interval": signed_interval,
    }
    gate, decided = inputs.gate, inputs.decided or inputs.gate
    overall = gate.slices[0] if gate.slices else None
    cards = cards_of(inputs)
    page = environment.get_template("report.html").render(
        inputs=inputs,
        label_colors=label_colors(),
        gate=gate,
        decided=decided,
        status=status(decided, inputs.standing),
        tone=tone(decided, inputs.standing),
        counts=counts(decided.checks),
        accuracy=accuracy_of(gate),
        overall=overall,
        overall_rows=_with_spans(overall.metrics if overall else []),
        compared=overall is not None and any(item.baseline for item in overall.metrics),
        paired=overall is not None and any(item.difference for item in overall.metrics),
        failing=sorted((check for check in decided.checks if check.decides and not check.ok), key=_margin),
        undecided=sorted((check for check in decided.checks if not check.decides and is_defined(check)), key=_margin),
        undefined=[check for check in decided.checks if not is_defined(check)],
        holding=sorted((check for check in decided.checks if check.decides and check.ok), key=_margin),
        slices=[_slice_row(item, gate) for item in gate.slices],
        **degraded.shown(inputs),
        **operating_point.shown(inputs),
        matrices=_matrices(inputs, overall),
        figures=drawings.drawn(inputs),
        cards=cards,
        num_mistakes=int((inputs.predictions.predicted() != inputs.predictions.labels).sum()),
        speakers=speaker_table(inputs.predictions, gate.classes),
        suspects=suspect_cards(inputs),
        max_speakers=MAX_SPEAKERS,
        max_reasons=MAX_REASONS,
        num_tightest=NUM_TIGHTEST,
        num_deciding=sum(check.decides for check in decided.checks),
        diff=None if inputs.baseline_config is None else config_diff(inputs.config, inputs.baseline_config),
        settings=flat(inputs.config),
        cost_columns=costs.columns(inputs),
        costs=costs.rows(inputs),
        corpus=facts.corpus_name(inputs.dataset.corpus_subsets, inputs.corpus),
        kind_of_speech=facts.kind_of_speech(inputs.dataset.corpus_subsets),
        synthetic=facts.kind_of_speech(inputs.dataset.corpus_subsets) == facts.SYNTHETIC_SPEECH,
        metric_name=metric_name,
        direction=direction,
        the=the,
        num_clips=sum(sum(counts.values()) for counts in inputs.dataset.counts.values()),
        num_speakers=len({speaker for speakers in inputs.dataset.speakers.values() for speaker in speakers}),
    )
    if (size := len(page.encode())) > MAX_BYTES:
        raise ValueError(f"the report has {size} bytes, more than {MAX_BYTES}")
    return page


def _margin(check: Check) -> float:
    """The tightest first."""
    return np.inf if check.margin is None else check.margin


def _with_spans(metrics: Sequence[Compared]) -> list[tuple[Compared, dict[str, float] | None]]:
    """Each metric, and where the interval of its difference lies on a scale from worse (0) over equal (50) to better (100)."""
    bounds = [abs(end) for item in metrics if item.difference for end in (item.difference.low, item.difference.high) if end]
    most = max(bounds, default=0.0) or 1.0

    def span(item: Compared) -> dict[str, float] | None:
        difference, sign = item.difference, -1 if item.metric in LOWER_IS_BETTER else 1
        if difference is None or difference.value is None or difference.low is None or difference.high is None:
            return None
        low, value, high = sorted(50 + 48 * sign * end / most for end in (difference.low, difference.value, difference.high))
        return {"left": low, "width": high - low, "value": value}

    return [(item, span(item)) for item in metrics]


def _slice_row(item: Slice, gate: GateResult) -> dict[str, Any]:
    classes = gate.classes
    by_name = {(metric.metric, metric.class_name): metric for metric in item.metrics}
    # With two classes the AUC of the one is that of the other.
    return {
        "item": item,
        "accuracy": by_name.get(("accuracy", None)),
        "auc": by_name.get(("auc", classes[-1])) if len(classes) == 2 else None,
        "ece": by_name.get(("ece", None)),
        "few": any(check.slice == item.name and check.metric == "accuracy" and not check.decides for check in gate.checks),
    }


def _matrices(inputs: ReportInputs, overall: Slice | None) -> list[tuple[str, list[list[tuple[int, float]]]]]:
    if overall is None:
        return []
    found = [(inputs.candidate_name, overall.confusion_matrix)]
    if overall.baseline_confusion_matrix is not None:
        found.append((inputs.baseline_name, overall.baseline_confusion_matrix))
    return [(name, [[(count, count / max(1, sum(row))) for count in row] for row in matrix]) for name, matrix in found]
