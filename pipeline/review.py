# SPDX-License-Identifier: Apache-2.0
"""`audio-gender review`: the page about a run, alone or beside another run."""

import dataclasses
import math
from pathlib import Path

import numpy as np

from beam_jobs.errors import UserError
from beam_jobs.files import write_atomically
from components.evaluator.clip_metrics import Key, estimates
from components.evaluator.predictions import Predictions
from components.evaluator.slices import slices_of
from components.gate.config import GateConfig
from components.gate.decide import compare
from components.gate.result import Degraded, GateResult, Robustness, Slice
from components.review_report.curves import Scores
from components.review_report.formatting import accuracy_of, compared_with
from components.review_report.inputs import ReportInputs
from components.review_report.page import render_report
from components.serving_check.result import Costs, ServingCheckResult
from pipeline.finish import complete_results
from pipeline.result import RunResult, read_results
from pipeline.review_inputs import inputs_of
from pipeline.review_summary import show
from pipeline.workdir import WorkDir


def review(workdir: WorkDir, run_id: str | None = None, against: str | None = None, html: Path | None = None) -> Path:
    """Writes the page and prints its summary.

    Args:
        workdir: where the runs were made.
        run_id: the run; None for the newest that came to its end.
        against: a run to compare with; None for the model that was in serving when the run was made.
        html: the page; None for a file in the run's report folder.

    Raises:
        UserError: there is no such run, or it left nothing to review.
    """
    complete_results(workdir)
    results = {result.run_id: result for result in read_results(workdir)}
    if run_id is None and not results:
        raise UserError(
            f"{workdir.root}: no finished run to review; make one with `{workdir.command('run', '--config', 'demo')}`"
        )
    result = _result(workdir, results, run_id or max(results))
    inputs = inputs_of(workdir, results, result)
    if against is not None:
        inputs = beside(inputs, inputs_of(workdir, results, _result(workdir, results, against)), result.run_id, against)
    name = f"review-against-{against}.html" if against else "review.html"
    path = (html or workdir.reports / result.run_id / name).absolute()
    try:
        write_atomically(str(path), render_report(inputs).encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another file to --html") from None
    show(inputs, path)
    return path


def _result(workdir: WorkDir, results: dict[str, RunResult], run_id: str) -> RunResult:
    if run_id not in results:
        raise UserError(f"{workdir.root}: no finished run {run_id}; list the runs with `{workdir.command('runs')}`")
    return results[run_id]


def beside(ours: ReportInputs, theirs: ReportInputs, run_id: str, against: str) -> ReportInputs:
    """One run's page with another run's model as the baseline: paired on the same test clips, else side by side.

    Raises:
        UserError: the two runs tell different classes apart.
    """
    if ours.gate.classes != theirs.gate.classes:
        raise UserError(
            f"run {run_id} tells {', '.join(ours.gate.classes)} apart and run {against} {', '.join(theirs.gate.classes)}; "
            "give a run with the same classes to --against"
        )
    paired = _test_shards(ours) == _test_shards(theirs) and ours.predictions.ids == theirs.predictions.ids
    name = f"run {against}"
    common = dataclasses.replace(
        ours,
        title=f"Run {run_id} beside run {against}",
        baseline_config=theirs.config or None,
        serving_check=_costs_beside(ours.serving_check, theirs.serving_check),
        candidate_name=f"run {run_id}",
        baseline_name=name,
        decided=ours.gate,
    )
    if not paired:
        clips = len(ours.predictions.ids), len(theirs.predictions.ids)
        return dataclasses.replace(
            common,
            gate=side_by_side(ours.gate, theirs.gate),
            predictions=dataclasses.replace(ours.predictions, baseline=None),
            other=Scores(name, theirs.predictions.labels, theirs.predictions.candidate, theirs.predictions.candidate_thresholds),
            warning=f"The two runs were tested on different clips ({clips[0]} and {clips[1]}). What looks like a difference "
            "between the models may come from the clips.",
        )
    predictions = dataclasses.replace(
        ours.predictions,
        baseline=theirs.predictions.candidate,
        baseline_thresholds=theirs.predictions.candidate_thresholds,
    )
    gate = ours.gate
    config = GateConfig(confidence=gate.confidence, bootstrap_samples=gate.bootstrap_samples)
    slices = compare(
        config,
        gate.classes,
        predictions,
        _metrics(predictions, predictions.candidate, predictions.candidate_thresholds, gate.classes),
        _metrics(predictions, theirs.predictions.candidate, theirs.predictions.candidate_thresholds, gate.classes),
    )
    degraded = degraded_beside(ours.gate.robustness, theirs.gate.robustness, same_clips=True)
    gate = gate.model_copy(update={"slices": slices, "baseline_version": name, "robustness": degraded})
    accuracy = accuracy_of(gate)
    comparison = f"Its accuracy is {compared_with(accuracy, name)}." if accuracy else ""
    return dataclasses.replace(common, gate=gate, predictions=predictions, comparison=comparison)


def _costs_beside(ours: ServingCheckResult | None, theirs: ServingCheckResult | None) -> ServingCheckResult | None:
    """Our costs alone: theirs were measured in another process, maybe on another machine, and times cannot be compared so."""
    if ours is None or ours.costs is None or theirs is None:
        return ours
    return ours.model_copy(update={"costs": Costs(candidate=ours.costs.candidate)})


def _test_shards(inputs: ReportInputs) -> list[str]:
    return [shard.sha256 for shard in inputs.dataset.shards if shard.split == "test"]


def _metrics(
    predictions: Predictions, probabilities: np.ndarray, thresholds: np.ndarray | None, classes: list[str]
) -> dict[str, dict[Key, float | None]]:
    return {
        name: {
            key: value if math.isfinite(value) else None
            for key, value in estimates(predictions.labels[inside], probabilities[inside], thresholds).items()
        }
        for name, inside in slices_of(predictions, classes).items()
    }


def side_by_side(ours: GateResult, theirs: GateResult) -> GateResult:
    """Our figures with theirs as the baseline, and no differences: they are of other clips."""
    their_slices = {item.name: item for item in theirs.slices}

    def of_slice(item: Slice) -> Slice:
        other = their_slices.get(item.name)
        candidates = {(metric.metric, metric.class_name): metric.candidate for metric in other.metrics} if other else {}
        metrics = [
            metric.model_copy(update={"baseline": candidates.get((metric.metric, metric.class_name)), "difference": None})
            for metric in item.metrics
        ]
        matrix = other.confusion_matrix if other else None
        return item.model_copy(update={"metrics": metrics, "baseline_confusion_matrix": matrix})

    degraded = degraded_beside(ours.robustness, theirs.robustness)
    return ours.model_copy(update={"slices": [of_slice(item) for item in ours.slices], "robustness": degraded})


def degraded_beside(ours: Robustness | None, theirs: Robustness | None, same_clips: bool = False) -> Robustness | None:
    """Our figures on degraded clips, beside theirs in place of the serving model's.

    With `same_clips` theirs are left out where they are of other clips.
    """
    if ours is None:
        return None
    comparable = theirs is not None and (not same_clips or theirs.clip_ids == ours.clip_ids)
    their_rows = {row.name: row for row in theirs.rows} if theirs and comparable else {}

    def of_row(row: Degraded) -> Degraded:
        other = their_rows.get(row.name)
        candidates = {metric.metric: metric.candidate for metric in other.metrics} if other else {}
        metrics = [metric.model_copy(update={"baseline": candidates.get(metric.metric)}) for metric in row.metrics]
        return row.model_copy(update={"metrics": metrics, "baseline_no_speech": other.no_speech if other else None})

    return ours.model_copy(update={"rows": [of_row(row) for row in ours.rows]})
