# SPDX-License-Identifier: Apache-2.0
"""The page's charts."""

from collections.abc import Sequence

import altair as alt
import numpy as np

from components.review_report.charts import COLORS, HEIGHT, WIDTH, in_line, to_svg

BINS = 24
SERVED, REFERENCE = "requests", "reference"


def two_distributions(here: Sequence[float], there: Sequence[float], title: str) -> str:
    """Shares of both in the same bins, over the range of all but the outermost hundredth."""
    low, high = np.quantile([*here, *there], [0.005, 0.995])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    rows = []
    for name, values in ((REFERENCE, there), (SERVED, here)):
        shares = np.histogram(np.clip(values, low, high), edges)[0] / len(values)
        rows += [
            {"of": name, "x": float(x), "x2": float(x2), "share": float(share)}
            for x, x2, share in zip(edges[:-1], edges[1:], shares, strict=True)
        ]
    chart = alt.Chart(in_line(rows)).mark_bar(opacity=0.55)
    return to_svg(
        chart.encode(
            x=alt.X("x:Q", title=title, scale=alt.Scale(domain=[float(low), float(high)], nice=False)),
            x2="x2:Q",
            y=alt.Y("share:Q", title="Share", stack=None),
            color=_colors(),
        ).properties(width=WIDTH, height=HEIGHT - 60)
    )


def shares_of_labels(here: Sequence[str], there: Sequence[str], title: str) -> str:
    """Shares of both, a pair of bars a label."""
    labels = sorted({*here, *there})
    rows = [
        {"of": name, "label": label, "share": values.count(label) / len(values)}
        for name, values in ((REFERENCE, list(there)), (SERVED, list(here)))
        for label in labels
    ]
    chart = alt.Chart(in_line(rows)).mark_bar()
    return to_svg(
        chart.encode(
            x=alt.X("share:Q", title="Share", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("label:N", title=title),
            yOffset=alt.YOffset("of:N", sort=[REFERENCE, SERVED]),
            color=_colors(),
        ).properties(width=WIDTH, height=HEIGHT - 60)
    )


def by_day(dates: Sequence[str], values: Sequence[float], title: str, rule: float | None = None, whole: bool = False) -> str:
    """A point a day, joined; `rule` is what the reference has; `whole` numbers begin at 0."""
    rows = [{"day": date[5:], "value": value} for date, value in zip(dates, values, strict=True)]
    scale = alt.Scale(zero=whole, nice=True)
    line = (
        alt.Chart(in_line(rows))
        .mark_line(strokeWidth=2, point={"filled": True, "size": 40})
        .encode(
            x=alt.X("day:N", title="Day (UTC)", sort=None, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("value:Q", title=title, scale=scale),
            color=alt.value(COLORS[0]),
        )
    )
    layers = [line]
    if rule is not None:
        layers.append(
            alt.Chart(in_line([{"rule": rule}]))
            .mark_rule(color=COLORS[1], strokeDash=[5, 3])
            .encode(y=alt.Y("rule:Q", scale=scale))
        )
    return to_svg(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT - 60))


def _colors() -> alt.Color:
    return alt.Color("of:N", scale=alt.Scale(domain=[REFERENCE, SERVED], range=[COLORS[1], COLORS[0]]), legend=alt.Legend())
