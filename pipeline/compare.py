# SPDX-License-Identifier: Apache-2.0
"""`audio-gender runs compare`: two runs side by side."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from beam_jobs.console import tell
from beam_jobs.errors import UserError
from pipeline.outcome import read_outcomes
from pipeline.result import RunResult, find_result
from pipeline.runs import RunSummary, differing_settings, list_runs, other_data
from pipeline.table import print_table
from pipeline.workdir import WorkDir


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric on one slice; `difference` is the second run's value minus the first's, None where one has none."""

    slice: str
    metric: str
    first: float | None
    second: float | None
    difference: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs side by side.

    `settings` are those that differ: (key, value of the first, value of the second). `same_test_clips` is whether both were
    tested on the same clips; only then is a difference one between the models.
    """

    runs: tuple[RunSummary, RunSummary]
    corpora: tuple[str, str]
    same_recordings: bool
    same_test_clips: bool
    settings: list[tuple[str, Any, Any]]
    metrics: list[Metric]


def compare(workdir: WorkDir, first: str, second: str) -> Comparison:
    """Two runs side by side; one that did not finish has no metrics.

    Raises:
        UserError: there is no such run, or the metadata store cannot be used.
    """
    runs = {run.run_id: run for run in list_runs(workdir) if run.verdict != "rolled back"}
    for run_id in (first, second):
        if run_id not in runs:
            raise UserError(f"{workdir.root}: no run {run_id}; list the runs with `{workdir.command('runs')}`")
    outcomes = read_outcomes(workdir)
    ours, theirs = (find_result(workdir, run_id) for run_id in (first, second))
    corpora = [outcomes[run_id].corpus if run_id in outcomes else "" for run_id in (first, second)]
    return Comparison(
        runs=(dataclasses.replace(runs[first], changed=[]), dataclasses.replace(runs[second], changed=[])),
        corpora=(corpora[0], corpora[1]),
        same_recordings=not other_data(outcomes.get(first), outcomes.get(second)),
        same_test_clips=bool(ours and theirs and ours.dataset_fingerprint == theirs.dataset_fingerprint),
        settings=differing_settings(workdir, first, second),
        metrics=_metrics(ours, theirs),
    )


def _metrics(ours: RunResult | None, theirs: RunResult | None) -> list[Metric]:
    first, second = (flat_metrics(result) for result in (ours, theirs))
    found = []
    for slice_name, metric in dict.fromkeys([*first, *second]):
        a, b = first.get((slice_name, metric)), second.get((slice_name, metric))
        if a is not None or b is not None:
            found.append(Metric(slice_name, metric, a, b, b - a if a is not None and b is not None else None))
    return found


def flat_metrics(result: RunResult | None) -> dict[tuple[str, str], float | None]:
    """A run's metrics by slice and name; none of a run that did not finish."""
    found: dict[tuple[str, str], float | None] = {}
    for slice_name, metrics in (result.metrics if result else {}).items():
        found[slice_name, "accuracy"] = metrics.get("accuracy")
        found[slice_name, "ECE"] = metrics.get("ece")
        for metric, title in (("auc", "AUC"), ("recall", "recall")):
            found |= {(slice_name, f"{title} {name}"): value for name, value in metrics.get(metric, {}).items()}
    return found


def show(comparison: Comparison) -> None:
    """Prints verdicts, data, settings that differ, and metrics by slice."""
    for letter, run, corpus in zip("AB", comparison.runs, comparison.corpora, strict=True):
        called = " ".join(filter(None, [run.name, *(f"#{tag}" for tag in run.tags)]))
        version = f"version {run.pushed_version}" if run.pushed_version else ""
        decided = f"by {run.decided_by}" if run.decided_by else ""
        said = ", ".join(filter(None, [run.verdict, version, decided, run.note, run.decision_note, called]))
        tell(f"{letter} {run.run_id}: {said}")
        if corpus:
            tell(f"  corpus {corpus}")
    tell(f"recordings: {'the same' if comparison.same_recordings else 'different'}")
    if comparison.metrics:
        tell(f"clips: {'the same' if comparison.same_test_clips else 'different, so a difference may come from the clips'}")
    if comparison.settings:
        settings = [(key, _text(a), _text(b)) for key, a, b in comparison.settings]
        print_table("Settings that differ", ("setting", "A", "B"), settings, left=3)
    else:
        tell("settings: the same")
    if comparison.metrics:
        rows = [
            (item.slice, item.metric, _figure(item.first), _figure(item.second), _figure(item.difference, "+"))
            for item in comparison.metrics
        ]
        print_table("Test speakers, whom the models never heard", ("slice", "metric", "A", "B", "B - A"), rows, left=2)


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def _figure(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.4f}"
