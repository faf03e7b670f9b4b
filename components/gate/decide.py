# SPDX-License-Identifier: Apache-2.0
"""The verdict: metrics of both models by slice, thresholds, reasons in words."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from beam_jobs.errors import UserError
from components.evaluator.clip_metrics import Key, confusion_matrix
from components.evaluator.predictions import Predictions
from components.evaluator.slices import ALL, same_in_all, slices_of
from components.gate import robustness
from components.gate.checks import LOWER_IS_BETTER, ROUNDING, check_of
from components.gate.checks import reasons as checks_in_words
from components.gate.config import GateConfig, Thresholds
from components.gate.intervals import SpeakerDraws, estimate_of, sample
from components.gate.result import Check, Compared, Estimate, GateResult, Slice
from components.robustness.scores import RobustnessScores

MetricsBySlice = Mapping[str, Mapping[Key, float | None]]
"""Metrics of a model by slice, as `components.evaluator.results.read_metrics` reads them."""

SUM_TOLERANCE = 1e-3


def decide(
    config: GateConfig,
    classes: Sequence[str],
    predictions: Predictions,
    candidate: MetricsBySlice,
    baseline: MetricsBySlice | None,
    baseline_version: str | None,
    serving_failures: Sequence[str] = (),
    degraded: RobustnessScores | None = None,
) -> GateResult:
    """Holds the candidate against every threshold.

    Args:
        config: the thresholds.
        classes: names by label.
        predictions: of both models.
        candidate: metrics by slice.
        baseline: those of the model in serving, None where there is none.
        baseline_version: its version.
        serving_failures: why the exported model must not be served, in words.
        degraded: what both models say of degraded clips; None where that is not measured.

    Raises:
        UserError: the test split is empty, or the model in serving does not give probabilities to compare with.
    """
    if not predictions.ids:
        raise UserError("the test split holds no clips; set clips.num_clips.test to at least 1")
    if predictions.baseline is not None and (broken := broken_scores(predictions.baseline)):
        raise UserError(
            f"the model in serving, version {baseline_version}, cannot be used as the baseline: {broken}; "
            "remove it from the serving folder, or restore the model"
        )
    slices = compare(config, classes, predictions, candidate, baseline)
    checks = [check for item in slices for check in _checks(config, classes, item)]
    robust = None if degraded is None else robustness.figures(config, degraded)
    not_measured = {row.name: row.not_measured for row in robust.rows} if robust else {}
    if robust:
        checks += robustness.checks(config, robust)
    failed = [check for check in checks if check.decides and not check.ok]
    reasons = [
        *serving_failures,
        *_structural(classes, predictions),
        *checks_in_words(failed, config, not_measured),
    ]
    return GateResult(
        blessed=not reasons,
        reasons=reasons,
        classes=list(classes),
        baseline_version=baseline_version,
        confidence=config.confidence,
        bootstrap_samples=config.bootstrap_samples,
        decided_on=config.decide_on,
        slices=slices,
        same_in_all=same_in_all(predictions, classes),
        checks=checks,
        robustness=robust,
    )


def broken_scores(probabilities: np.ndarray) -> str | None:
    """What makes float [clips, classes] no probabilities, in words; None where nothing does."""
    clips = len(probabilities)
    finite = np.isfinite(probabilities).all(axis=1)
    if not finite.all():
        return f"{clips - finite.sum()} of {clips} test clips get a score that is not a number"
    outside = ((probabilities < -SUM_TOLERANCE) | (probabilities > 1 + SUM_TOLERANCE)).any(axis=1)
    wrong = outside | (np.abs(probabilities.sum(axis=1) - 1) > SUM_TOLERANCE)
    if wrong.any():
        return f"{wrong.sum()} of {clips} test clips get scores that are not valid probabilities (0 to 1, sum 1)"
    return None


def _structural(classes: Sequence[str], predictions: Predictions) -> list[str]:
    # What no threshold may let through, however low.
    reasons = []
    if predictions.candidate_classes != list(classes):
        named = predictions.candidate_classes
        found = f"gives its classes as {', '.join(named)}" if named else "does not name its classes in one order"
        reasons.append(f"the model's signature {found} and not as {', '.join(classes)}")
    if broken := broken_scores(predictions.candidate):
        reasons.append(broken)
    elif len(predictions.ids) > 1 and np.ptp(predictions.candidate, axis=0).max() <= ROUNDING:
        reasons.append("every test clip gets the same scores")
    reasons += [
        f"no clip of the test split is labelled {name}"
        for number, name in enumerate(classes)
        if not (predictions.labels == number).any()
    ]
    return reasons


def compare(
    config: GateConfig,
    classes: Sequence[str],
    predictions: Predictions,
    candidate: MetricsBySlice,
    baseline: MetricsBySlice | None,
) -> list[Slice]:
    """Every slice with the metrics of both models, their differences, and the intervals of all."""
    draws = SpeakerDraws(predictions.speaker_ids, config.bootstrap_samples)
    keys: list[Key] = [("accuracy", None), ("ece", None)]
    keys += [(metric, number) for metric in ("auc", "recall") for number in range(len(classes))]
    found = []
    for name, inside in slices_of(predictions, classes).items():
        labels = predictions.labels
        of_candidate = sample(draws, labels, predictions.candidate, inside, predictions.candidate_thresholds)
        of_baseline = None
        if predictions.baseline is not None and baseline is not None:
            of_baseline = sample(draws, labels, predictions.baseline, inside, predictions.baseline_thresholds)
        metrics = []
        for key in keys:
            value = candidate[name][key]
            compared = Compared(
                metric=key[0],
                class_name=None if key[1] is None else classes[key[1]],
                candidate=estimate_of(value, of_candidate, key, config.confidence),
            )
            if of_baseline and baseline is not None:
                other = baseline[name][key]
                change = None if value is None or other is None else value - other
                compared.baseline = estimate_of(other, of_baseline, key, config.confidence)
                compared.difference = estimate_of(change, of_candidate, key, config.confidence, minus=of_baseline)
            metrics.append(compared)
        feature, _, text = name.partition("=")
        scores, others = predictions.candidate[inside], predictions.baseline
        found.append(
            Slice(
                name=name,
                feature=feature if text else None,
                value=text or None,
                clips=int(inside.sum()),
                speakers=draws.speakers(inside),
                metrics=metrics,
                confusion_matrix=confusion_matrix(labels[inside], scores, predictions.candidate_thresholds),
                baseline_confusion_matrix=None
                if others is None
                else confusion_matrix(labels[inside], others[inside], predictions.baseline_thresholds),
            )
        )
    return found


def _checks(config: GateConfig, classes: Sequence[str], item: Slice) -> list[Check]:
    thresholds: Thresholds = config.overall if item.name == ALL else config.slices
    with_label = dict(zip(classes, map(sum, item.confusion_matrix), strict=True))
    found = []
    for compared in item.metrics:
        metric, lower = compared.metric, compared.metric == LOWER_IS_BETTER
        if item.feature == "label" and metric in ("recall", "auc"):
            continue  # there recall is accuracy, and AUC is not defined
        clips = with_label[str(compared.class_name)] if metric == "recall" else item.clips
        least = thresholds.max_ece if lower else getattr(thresholds, f"min_{metric}")
        allowed = thresholds.max_ece_rise if lower else getattr(thresholds, f"max_{metric}_loss")
        change = allowed if lower or allowed is None else -allowed
        kinds: tuple[tuple[Literal["value", "change"], Estimate | None, float | None], ...] = (
            ("value", compared.candidate, least),
            ("change", compared.difference, change),
        )
        for kind, estimate, threshold in kinds:
            if estimate is None or threshold is None:
                continue
            enough = item.name == ALL or clips >= config.min_slice_clips
            # Without a value a class or the scores are missing: on the whole `_structural` has the reason.
            check = check_of(
                config,
                estimate,
                threshold,
                metric=metric,
                slice_name=item.name,
                clips=clips,
                enough=enough,
                kind=kind,
                class_name=compared.class_name,
            )
            found.append(check)
    return found
