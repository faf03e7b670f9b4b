# SPDX-License-Identifier: Apache-2.0
"""The result as one self-contained HTML page, in the report's style."""

import base64
from pathlib import Path
from typing import Any

import jinja2

from beam_jobs.html_pages import TEMPLATES as BASE_TEMPLATES
from beam_jobs.html_pages import label_colors
from components.review_report.page import TEMPLATES as REPORT_TEMPLATES
from components.watch.check import Watched, name_of
from components.watch.drawings import by_day, shares_of_labels, two_distributions
from components.watch.measures import LABEL, common_names, values_of
from components.watch.records import Record

TEMPLATES = Path(__file__).parent / "templates"
TONES = {"alarm": "bad", "quiet": "good", "too few requests": "open"}
WORDS = {"alarm": "Alarm", "quiet": "No alarm", "too few requests": "Too few requests to judge"}
MEANING = {
    "duration_s": "seconds",
    "level_dbfs": "dBFS",
    "clipping": "log10 of share clipped",
    "band_hz": "Hz",
    "confidence": "probability",
}
MAX_PLAYED_BYTES = 2_000_000
"""Of all players on a page."""


def render(watched: Watched) -> str:
    """The page as text."""
    loader = jinja2.FileSystemLoader([TEMPLATES, REPORT_TEMPLATES, BASE_TEMPLATES])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    result = watched.result
    return environment.get_template("watch.html").render(
        result=result,
        tone=TONES[result.status],
        words=WORDS[result.status],
        label_colors=label_colors(),
        name_of=name_of,
        trends=_trends(watched),
        distributions=_distributions(watched),
        unlike=list(zip(result.unlike, _players(watched.unlike), strict=True)),
    )


def _trends(watched: Watched) -> list[tuple[str, str]]:
    days = [day for day in watched.result.days if day.with_speech]
    if len(days) < 2:
        return []
    dates = [day.date for day in days]
    found = [("Requests", by_day(dates, [day.requests for day in days], "requests", whole=True))]
    accuracy = watched.result.accuracy
    usual = accuracy.reference_expected if accuracy else None
    found.append(("Expected accuracy", by_day(dates, [day.means["confidence"] for day in days], "share", usual)))
    names = common_names(watched.requests, watched.reference) if watched.requests else []
    for item in watched.result.drift:
        if item.name in names and item.name not in (LABEL, "confidence"):
            there = [float(values_of(record)[item.name]) for record in watched.reference]
            means = [day.means[item.name] for day in days]
            found.append((_title(item.name), by_day(dates, means, MEANING.get(item.name, "mean"), sum(there) / len(there))))
    return found


def _distributions(watched: Watched) -> dict[str, str]:
    if not watched.requests:
        return {}
    found = {}
    for name in common_names(watched.requests, watched.reference):
        here, there = ([values_of(record)[name] for record in records] for records in (watched.requests, watched.reference))
        title = MEANING.get(name, "dB around the mean" if name.startswith("mel ") else "share")
        if name == LABEL:
            found[name] = shares_of_labels([str(value) for value in here], [str(value) for value in there], "")
        else:
            found[name] = two_distributions([float(value) for value in here], [float(value) for value in there], title)
    order = [item.name for item in watched.result.drift]
    return {name: found[name] for name in sorted(found, key=lambda name: order.index(name) if name in order else len(order))}


def _title(name: str) -> str:
    title = name_of(name)
    return title[:1].upper() + title[1:]


def _players(records: Any) -> list[str]:
    left, found = MAX_PLAYED_BYTES, []
    for record in records:
        found.append(_source(record) if len(record.audio) <= left else "")
        left -= len(record.audio) if found[-1] else 0
    return found


def _source(record: Record) -> str:
    return f"data:audio/flac;base64,{base64.b64encode(record.audio).decode()}" if record.audio else ""
