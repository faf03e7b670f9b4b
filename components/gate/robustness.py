# SPDX-License-Identifier: Apache-2.0
"""Figures and checks on degraded clips."""

import math

import numpy as np

from components.evaluator.clip_metrics import Key, estimates
from components.evaluator.predictions import BASELINE, CANDIDATE
from components.gate.checks import check_of
from components.gate.config import GateConfig
from components.gate.intervals import SpeakerDraws, estimate_of, sample
from components.gate.result import Check, Compared, Degraded, Estimate, Robustness
from components.robustness.scores import Answers, Condition, RobustnessScores

METRICS: tuple[Key, ...] = (("accuracy", None), ("ece", None))


def figures(config: GateConfig, scores: RobustnessScores) -> Robustness:
    """Accuracy and calibration error of both models in each condition, with the intervals of a bootstrap over speakers."""
    draws = SpeakerDraws(scores.speaker_ids, config.bootstrap_samples)
    labels, everything = np.array(scores.labels, np.int64), np.ones(len(scores.ids), bool)

    def of_model(condition: Condition, name: str) -> dict[Key, Estimate]:
        answers: Answers | None = getattr(condition, name)
        thresholds = np.array(scores.thresholds[name]) if name in scores.thresholds else None
        if answers is None:
            return {}
        able, probabilities = condition.scored(answers, labels)
        drawn, values = sample(draws, able, probabilities, everything, thresholds), estimates(able, probabilities, thresholds)
        defined = {key: values[key] if math.isfinite(values[key]) else None for key in METRICS}
        return {key: estimate_of(value, drawn, key, config.confidence) for key, value in defined.items()}

    def row(condition: Condition) -> Degraded:
        candidate, baseline = (of_model(condition, name) for name in (CANDIDATE, BASELINE))
        return Degraded(
            name=condition.name,
            degradation=condition.degradation,
            strength=condition.strength,
            not_measured=condition.not_measured,
            metrics=[
                Compared(metric=key[0], candidate=estimate, baseline=baseline.get(key)) for key, estimate in candidate.items()
            ],
            no_speech=_no_speech(condition.candidate),
            baseline_no_speech=_no_speech(condition.baseline),
        )

    rows = [row(condition) for condition in scores.conditions]
    return Robustness(clip_ids=scores.ids, speakers=draws.speakers(everything), rows=rows)


def _no_speech(answers: Answers | None) -> int | None:
    return None if answers is None else sum(share <= 0 for share in answers.speech)


def checks(config: GateConfig, found: Robustness) -> list[Check]:
    """A check of each threshold on each condition that it is about; they decide however few the clips are."""
    return [
        check_of(
            config,
            next((item.candidate for item in row.metrics if item.metric == metric), Estimate(value=None)),
            threshold,
            metric=metric,
            slice_name=row.name,
            clips=len(found.clip_ids),
            required=True,
        )
        for row in found.rows
        for name, thresholds in config.robustness.items()
        if row.degradation == name and (row.strength or 0) <= thresholds.max_strength
        for metric, threshold in (("accuracy", thresholds.min_accuracy), ("ece", thresholds.max_ece))
        if threshold is not None
    ]
