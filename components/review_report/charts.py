# SPDX-License-Identifier: Apache-2.0
"""The report's charts: Vega-Altair, drawn once to SVG by vl-convert, so that the page needs no script and no network.

Colours are CSS variables of the page, which is how one drawing serves a light and a dark scheme.
"""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from typing import Any

import altair as alt
import vl_convert

from beam_jobs.html_pages import label_color
from components.review_report.curves import Curve, ReliabilityBin

WIDTH, HEIGHT = 330, 230
LEAST_SPAN = 0.02
"""Of an axis of a metric."""
COLORS = ("var(--candidate)", "var(--baseline)")
DASHES = ([1, 0], [5, 3])

_SIZES = {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"}
_CONFIG = {
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--soft)",
        "titleColor": "var(--soft)",
        "gridColor": "var(--grid)",
        "domainColor": "var(--axis)",
        "tickColor": "var(--axis)",
        "tickCount": 5,
        **_SIZES,
    },
    "legend": {
        "labelColor": "var(--text)",
        "orient": "top",
        "title": None,
        "symbolType": "stroke",
        "symbolStrokeWidth": 2.5,
        "labelLimit": 300,
        **_SIZES,
    },
}


def to_svg(drawn: alt.TopLevelMixin) -> str:
    """A chart as SVG that stands in a page."""
    spec = drawn.to_dict()
    # Altair's own defaults: a white background, and a view of a fixed size.
    spec["config"], spec["background"] = _CONFIG, None
    svg = vl_convert.vegalite_to_svg(spec)
    # The renderer counts clip paths through the whole process, and a page must not depend on what was drawn before it.
    chart = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]
    found = dict.fromkeys(re.findall(r'id="(clip\d+)"', svg))
    ids = {old: f"clip-{chart}-{number}" for number, old in enumerate(found)}
    svg = re.sub(r'(?<=id=")clip\d+(?=")|(?<=url\(#)clip\d+(?=\))', lambda match: ids[match[0]], svg)
    # The figure around it speaks for the whole; roles on single marks would only be in the way of a screen reader.
    svg = re.sub(r' (?:role|class|aria-[a-z]+|pointer-events|xmlns:xlink|version|font-family)="[^"]*"', "", svg)
    return re.sub(r'<svg ([^>]*?)width="([\d.]+)" height="[\d.]+"', r'<svg \1style="max-width: \2px"', svg, count=1)


def in_line(rows: Sequence[dict[str, Any]]) -> alt.InlineData:
    """Rows as a chart takes them."""
    return alt.InlineData(values=list(rows))


def _model_encodings(models: Sequence[str]) -> dict[str, Any]:
    legend = alt.Legend() if len(models) > 1 else None
    return {
        "color": alt.Color("model:N", scale=alt.Scale(domain=list(models), range=list(COLORS[: len(models)])), legend=legend),
        "strokeDash": alt.StrokeDash(
            "model:N", scale=alt.Scale(domain=list(models), range=list(DASHES[: len(models)])), legend=legend
        ),
    }


def _axis(field: str, title: str, low: float = 0.0, high: float = 1.0) -> dict[str, Any]:
    return {"shorthand": f"{field}:Q", "title": title, "scale": alt.Scale(domain=[low, high], nice=False)}


def curves(
    found: Sequence[Curve],
    x_title: str,
    y_title: str,
    step: bool,
    diagonal: bool = False,
    points: Sequence[tuple[str, float, float]] = (),
) -> str:
    """One line a model over the unit square, and dots on them: model, x, y."""
    # The baseline lies below the candidate, which is what the page is about.
    rows = [
        {"model": curve.model, "x": x, "y": y, "n": n}
        for curve in reversed(found)
        for n, (x, y) in enumerate(zip(curve.x, curve.y, strict=True))
    ]
    lines = (
        alt.Chart(in_line(rows))
        .mark_line(strokeWidth=2, interpolate="step-after" if step else "linear", clip=True)
        .encode(
            x=alt.X(**_axis("x", x_title)),
            y=alt.Y(**_axis("y", y_title)),
            order="n:Q",
            **_model_encodings([curve.model for curve in found]),
        )
    )
    dots = alt.Chart(in_line([{"model": model, "x": x, "y": y} for model, x, y in reversed(points)])).mark_point(
        filled=True, size=90, opacity=1, strokeWidth=0
    )
    dots = dots.encode(x="x:Q", y="y:Q", **_model_encodings([curve.model for curve in found]))
    layers = [*([_diagonal()] if diagonal else []), lines, *([dots] if points else [])]
    return to_svg(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT))


def by_threshold(rows: Sequence[dict[str, float | None]], title: str, cut: float) -> str:
    """A line for each figure over the threshold, and an upright one at the model's own."""
    names = [name for name in rows[0] if name != "threshold"]
    colors = ["var(--text)", *(label_color(position) for position in range(len(names) - 1))]
    values = [{"threshold": row["threshold"], "figure": name, "value": row[name]} for row in rows for name in names]
    lines = (
        alt.Chart(in_line(values))
        .mark_line(strokeWidth=2, interpolate="step-after", clip=True)
        .encode(
            x=alt.X(**_axis("threshold", title)),
            y=alt.Y(**_axis("value", "Share of clips that are right")),
            color=alt.Color("figure:N", scale=alt.Scale(domain=names, range=colors)),
            strokeDash=alt.StrokeDash("figure:N", scale=alt.Scale(domain=names, range=[[1, 0], [5, 3], [2, 2]][: len(names)])),
        )
    )
    rule = alt.Chart(in_line([{"cut": cut}])).mark_rule(color="var(--axis)", strokeWidth=1.5).encode(x="cut:Q")
    return to_svg(alt.layer(rule, lines).properties(width=WIDTH, height=HEIGHT))


def _diagonal() -> alt.Chart:
    ends = in_line([{"x": 0, "y": 0}, {"x": 1, "y": 1}])
    return alt.Chart(ends).mark_line(clip=True, color="var(--axis)", strokeWidth=1, strokeDash=[2, 3]).encode(x="x:Q", y="y:Q")


def reliability(bins: Sequence[ReliabilityBin], models: Sequence[str], lowest: float) -> str:
    """Accuracy over confidence, which is never below `lowest`; on the diagonal a model is as sure as it is right.

    The area of a dot is its number of clips.
    """
    rows = [{"model": item.model, "x": item.confidence, "y": item.accuracy, "clips": item.clips} for item in reversed(bins)]
    base = alt.Chart(in_line(rows)).encode(
        x=alt.X(**_axis("x", "Confidence: the highest probability", low=math.floor(10 * lowest) / 10)),
        y=alt.Y(**_axis("y", "Share that is right")),
        **_model_encodings(models),
    )
    dots = base.mark_point(filled=True, opacity=0.9).encode(
        size=alt.Size("clips:Q", scale=alt.Scale(range=[20, 250]), legend=None), strokeDash=alt.value([1, 0])
    )
    return to_svg(alt.layer(_diagonal(), base.mark_line(strokeWidth=2), dots).properties(width=WIDTH, height=HEIGHT))


def histogram(counts: dict[str, list[int]], class_name: str, colors: Sequence[str]) -> str:
    """Bars by label, one label over the other, each in its colour and with a scale of its own axis."""
    rows = [
        {"label": label, "low": k / len(values), "high": (k + 1) / len(values), "clips": value}
        for label, values in counts.items()
        for k, value in enumerate(values)
    ]
    labels = list(counts)
    bars = [
        alt.Chart(in_line([row for row in rows if row["label"] == label]))
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X(
                "low:Q",
                bin="binned",
                scale=alt.Scale(domain=[0, 1]),
                title=f"Probability of {class_name}" if label == labels[-1] else None,
            ),
            x2="high:Q",
            y=alt.Y("clips:Q", title=f"Clips, {label}", axis=alt.Axis(tickMinStep=1, tickCount=3)),
            color=alt.Color("label:N", scale=alt.Scale(domain=labels, range=list(colors)), legend=None),
        )
        .properties(width=WIDTH, height=(HEIGHT - 30) // len(labels))
        for label in labels
    ]
    return to_svg(alt.vconcat(*bars, spacing=8))


def training(rows: Sequence[dict[str, Any]], title: str) -> str:
    """A figure over epochs, a line for `train` and one for `eval`; `rows` hold `epoch`, `split` and `value`."""
    splits = list(dict.fromkeys(row["split"] for row in rows))
    few = len({row["epoch"] for row in rows}) < 4
    chart = (
        alt.Chart(in_line([{**row, "model": row["split"]} for row in rows]))
        .mark_line(strokeWidth=2, point={"filled": True, "size": 25} if few else False)
        .encode(
            x=alt.X("epoch:Q", title="Epoch", axis=alt.Axis(tickMinStep=1, format="d"), scale=alt.Scale(nice=False)),
            y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
            **_model_encodings(splits),
        )
    )
    return to_svg(chart.properties(width=WIDTH, height=HEIGHT))


def over_runs(rows: Sequence[dict[str, Any]], runs: Sequence[str], metrics: Sequence[str]) -> str:
    """A line for each metric over the runs with the same test clips.

    `rows` hold `run`, `metric`, `value`, `marked` (a large dot) and `test`, which stands for the test clips.
    """
    low, high = min(row["value"] for row in rows), max(row["value"] for row in rows)
    if high - low < LEAST_SPAN:  # of equal values the axis had one tick, a 0 that was none
        low, high = max(0.0, low - LEAST_SPAN / 2), min(1.0, high + LEAST_SPAN / 2)
    base = alt.Chart(in_line(rows)).encode(
        x=alt.X("run:N", sort=list(runs), title=None, axis=alt.Axis(labelAngle=-40, labelLimit=200)),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False, nice=True, domain=[low, high])),
        color=alt.Color(
            "metric:N",
            scale=alt.Scale(domain=list(metrics), range=_metric_colors(metrics)),
            legend=alt.Legend(),
        ),
        strokeDash=alt.StrokeDash(
            "metric:N",
            scale=alt.Scale(domain=list(metrics), range=[[1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [4, 4]][: len(metrics)]),
        ),
    )
    dots = base.mark_point(filled=True, opacity=1).encode(
        size=alt.Size("marked:N", scale=alt.Scale(domain=[False, True], range=[30, 150]), legend=None),
        strokeDash=alt.value([1, 0]),
    )
    lines = base.mark_line(strokeWidth=2).encode(detail="test:N")
    width = min(2 * WIDTH, max(WIDTH, 22 * len(runs)))
    # Slanted names need more room below than is measured for them.
    return to_svg(alt.layer(lines, dots).properties(width=width, height=HEIGHT, padding=12))


def _metric_colors(metrics: Sequence[str]) -> list[str]:
    """Of `accuracy` and `ECE` the candidate's, of `AUC female` that of the label, in the order of the labels."""
    labels = list(dict.fromkeys(label for metric in metrics if (label := metric.partition(" ")[2])))
    return [label_color(labels.index(label)) if (label := metric.partition(" ")[2]) else "var(--candidate)" for metric in metrics]


def by_slice(rows: Sequence[dict[str, Any]], slices: Sequence[str]) -> str:
    """A dot for A and one for B on each slice, joined; `rows` hold `slice`, `run` and `value`."""
    base = alt.Chart(in_line(rows)).encode(
        y=alt.Y("slice:N", sort=list(slices), title=None, axis=alt.Axis(labelLimit=260)),
        x=alt.X("value:Q", title="Accuracy", scale=alt.Scale(zero=False, nice=True)),
    )
    dots = base.mark_point(filled=True, size=80, opacity=1).encode(
        color=alt.Color("run:N", scale=alt.Scale(domain=["A", "B"], range=[COLORS[1], COLORS[0]]), legend=alt.Legend()),
        shape=alt.Shape("run:N", scale=alt.Scale(domain=["A", "B"], range=["square", "circle"])),
    )
    joined = base.mark_line(color="var(--axis)", strokeWidth=1.5).encode(detail="slice:N")
    # A browser's letters are wider than those that are measured.
    padding = {"left": 40, "top": 5, "right": 10, "bottom": 5}
    return to_svg(alt.layer(joined, dots).properties(width=WIDTH + 100, height={"step": 22}, padding=padding))
