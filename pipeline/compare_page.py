# SPDX-License-Identifier: Apache-2.0
"""The page of `audio-gender runs compare --html`: metrics over all runs, and of two of them by slice."""

import html
from collections.abc import Sequence
from typing import Any

import markupsafe

from beam_jobs.html_pages import render_page
from components.evaluator.slices import ALL
from components.review_report import charts
from components.review_report.formatting import decimal, signed
from pipeline.compare import Comparison, flat_metrics
from pipeline.result import RunResult, read_results
from pipeline.workdir import WorkDir

MAX_RUNS = 30
"""The newest that have figures: more are no picture any more."""
MAX_LABELS_DRAWN = 3
"""With more of them only the accuracy is drawn: two lines for each label would be a thicket."""


def compare_page(workdir: WorkDir, comparison: Comparison) -> str:
    """The page as text, which loads nothing."""
    pictures = [*_over_runs(workdir, comparison), *_by_slice(comparison)]
    return render_page("runs.html", comparison=comparison, pictures=pictures)


def _over_runs(workdir: WorkDir, comparison: Comparison) -> list[dict[str, Any]]:
    letters = {run.run_id: letter for letter, run in zip("AB", comparison.runs, strict=True)}
    results = read_results(workdir)
    newest = {result.run_id for result in results[-MAX_RUNS:]} | set(letters)
    results = [result for result in results if result.run_id in newest]
    rows: list[dict[str, Any]] = []
    figures: list[tuple[str, RunResult, dict[str, float | None]]] = []
    for result in results:
        name = " ".join(filter(None, [letters.get(result.run_id, ""), result.run_id]))
        found = {metric: value for (slice_name, metric), value in flat_metrics(result).items() if slice_name == ALL}
        figures.append((name, result, found))
        rows += [
            {
                "run": name,
                "metric": metric,
                "value": value,
                "marked": result.run_id in letters,
                "test": result.dataset_fingerprint,
            }
            for metric, value in found.items()
            if value is not None
        ]
    if not rows:
        return []
    metrics: list[str] = list(dict.fromkeys(row["metric"] for row in rows))
    test_sets = list(dict.fromkeys(result.dataset_fingerprint for result in results))
    several = "" if len(test_sets) == 1 else " They were tested on different clips: those of one set are joined by a line."
    note = f"On all test clips of each run, the oldest first; A and B are the large dots.{several}"
    higher = [metric for metric in metrics if metric != "ECE"]
    if len({label for metric in higher if (label := metric.partition(" ")[2])}) > MAX_LABELS_DRAWN:
        higher = ["accuracy"]
    found_pictures = []
    for title, of_picture in (
        ("Accuracy over runs" if higher == ["accuracy"] else "Accuracy, AUC and recall over runs", higher),
        ("Calibration error over runs", ["ECE"]),
    ):
        chosen = [row for row in rows if row["metric"] in of_picture]
        if chosen:
            svg = charts.over_runs(chosen, [name for name, *_ in figures], of_picture)
            table = [
                (name, f"set {test_sets.index(result.dataset_fingerprint) + 1}", *(decimal(found.get(one)) for one in of_picture))
                for name, result, found in figures
            ]
            found_pictures.append(_picture(title, note, svg, ("run", "clips", *of_picture), table))
    return found_pictures


def _by_slice(comparison: Comparison) -> list[dict[str, Any]]:
    accuracy = [item for item in comparison.metrics if item.metric == "accuracy"]
    if not accuracy:
        return []
    rows = [
        {"slice": item.slice, "run": letter, "value": value}
        for item in accuracy
        for letter, value in (("A", item.first), ("B", item.second))
        if value is not None
    ]
    table = [
        (f"{item.slice}: {item.metric}", decimal(item.first), decimal(item.second), signed(item.difference))
        for item in comparison.metrics
    ]
    svg = charts.by_slice(rows, [item.slice for item in accuracy])
    note = "Accuracy of A and B on each slice of the test clips. For intervals of the difference: `review B --against A`."
    return [_picture("A and B by slice", note, svg, ("slice and metric", "A", "B", "B - A"), table)]


def _picture(title: str, note: str, svg: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    # The drawing is Vega's own markup, which escapes what it writes.
    head, body = svg.split(">", 1)
    labelled = f'{head} role="img"><title>{html.escape(title)}</title><desc>{html.escape(note)}</desc>{body}'
    return {"title": title, "note": note, "svg": markupsafe.Markup(labelled), "columns": columns, "rows": rows}  # noqa: S704
