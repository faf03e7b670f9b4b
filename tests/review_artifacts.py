# SPDX-License-Identifier: Apache-2.0
"""What the nodes before the report leave in a run, made without training: answers are drawn, everything else is real."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from beam_jobs.dataset import read_dataset_info
from beam_jobs.examples import Clip, decode_clip, read_records
from components.decision_rule import even_thresholds
from components.evaluator.clip_metrics import estimates
from components.evaluator.predictions import Predictions, line, read_predictions, shard_prefix, write_models
from components.evaluator.slices import slices_of
from components.gate.config import GateConfig
from components.gate.decide import decide
from components.gate.result import RESULT_FILE, GateResult
from components.robustness.config import STRENGTHS, Degradation
from components.robustness.scores import Answers, Condition, RobustnessScores
from components.serving_check.result import RESULT_FILE as SERVING_CHECK_FILE
from components.serving_check.result import Cost, Costs, ServingCheckResult

LENIENT: dict[str, Any] = {
    "overall": {"min_accuracy": 0, "min_auc": 0, "min_recall": 0, "max_ece": 1, "max_accuracy_loss": 1, "max_auc_loss": 1,
                "max_recall_loss": 1, "max_ece_rise": 1},
    "slices": {"min_accuracy": 0, "min_auc": 0, "min_recall": 0, "max_ece": 1, "max_accuracy_loss": 1, "max_auc_loss": 1,
               "max_recall_loss": 1, "max_ece_rise": 1},
}  # fmt: skip
"""Thresholds of the gate that every model holds."""


def test_clips(dataset: Path) -> list[Clip]:
    shards = sorted((dataset / "test").glob("*.tfrecord"))
    return [clip for path in shards for clip in map(decode_clip, read_records(path.open("rb")))]


test_clips.__test__ = False  # type: ignore[attr-defined]  # no test for pytest


def answers(labels: np.ndarray, num_classes: int, num_wrong: int, seed: int) -> np.ndarray:
    """Probabilities, float [clips, classes], that are wrong for `num_wrong` of the clips and sure of most others."""
    rng = np.random.default_rng(seed)
    sure = rng.uniform(0.6, 0.99, len(labels))
    said = labels.copy()
    said[rng.permutation(len(labels))[:num_wrong]] += 1
    probabilities = np.tile(((1 - sure) / (num_classes - 1))[:, None], num_classes)
    probabilities[np.arange(len(labels)), said % num_classes] = sure
    return probabilities


def write_predictions(rows: Iterable[dict[str, Any]], thresholds: dict[str, np.ndarray], folder: Path) -> None:
    """Writes raw predictions as the Evaluator does, in two shards."""
    lines = [f"{line(row)}\n" for row in rows]
    prefix = shard_prefix(str(folder))
    write_models(thresholds, str(folder))
    for number in range(2):
        Path(f"{prefix}-{number:05d}-of-00002.jsonl").write_text("".join(lines[number::2]))


def write_evaluation(
    folder: Path, dataset: Path, num_wrong: int, baseline_wrong: int | None = None, seed: int = 0
) -> Predictions:
    """Writes the predictions of a model with so many mistakes, and of a baseline with so many."""
    classes = read_dataset_info(str(dataset)).classes
    clips = test_clips(dataset)
    labels = np.array([clip.label for clip in clips])
    models = {"candidate": num_wrong} | ({} if baseline_wrong is None else {"baseline": baseline_wrong})
    said = {name: answers(labels, len(classes), wrong, seed + k) for k, (name, wrong) in enumerate(models.items())}
    rows = [
        {
            "id": clip.id,
            "label": clip.label,
            "mode": clip.mode,
            "num_speakers": len(set(clip.speaker_ids)),
            "speaker_ids": clip.speaker_ids,
            "utterance_ids": clip.utterance_ids,
            "rms_dbfs": clip.rms_dbfs,
            "speech_ratio": clip.speech_ratio,
            **{name: said[name][k].tolist() for name in models},
            **{f"{name}_classes": classes for name in models},
        }
        for k, clip in enumerate(clips)
    ]
    folder.mkdir(parents=True)
    thresholds = {name: even_thresholds(len(classes)) for name in models}
    write_predictions(rows, thresholds, folder)
    return read_predictions(str(folder))


def degraded(predictions: Predictions, num_classes: int, baseline: bool) -> RobustnessScores:
    """Scores under three degradations, ever worse with their strength, and one that could not be made."""

    def drawn(wrong: int, seed: int) -> Answers:
        probabilities = answers(predictions.labels, num_classes, wrong, seed)
        return Answers(
            probabilities=probabilities.tolist(), speech=[0.0] * (wrong // 4) + [0.8] * (len(probabilities) - wrong // 4)
        )

    conditions = [Condition()]
    names: tuple[Degradation, ...] = ("telephone", "pink_noise", "far", "opus")
    conditions += [Condition(degradation=name, strength=strength) for name in names for strength in STRENGTHS]
    for number, condition in enumerate(conditions):
        if condition.degradation == "opus":
            condition.not_measured = "this machine's libsndfile 1.0.28 cannot encode OPUS"
        else:
            condition.candidate = drawn(number, number)
            condition.baseline = drawn(number + 1, 100 + number) if baseline else None
    return RobustnessScores(
        ids=predictions.ids,
        labels=predictions.labels.tolist(),
        speaker_ids=[list(names) for names in predictions.speaker_ids],
        conditions=conditions,
    )


def decided(
    predictions: Predictions,
    classes: list[str],
    version: str | None,
    degraded_scores: RobustnessScores | None = None,
    **settings: object,
) -> GateResult:
    """What the gate makes of the predictions."""

    def figures(probabilities: np.ndarray) -> dict:
        return {
            name: {
                key: value if np.isfinite(value) else None
                for key, value in estimates(predictions.labels[inside], probabilities[inside]).items()
            }
            for name, inside in slices_of(predictions, classes).items()
        }

    config = GateConfig.model_validate({"bootstrap_samples": 100, "min_slice_clips": 5, **settings})
    baseline = None if predictions.baseline is None else figures(predictions.baseline)
    return decide(config, classes, predictions, figures(predictions.candidate), baseline, version, degraded=degraded_scores)


def write_gate_result(folder: Path, result: GateResult) -> None:
    folder.mkdir(parents=True)
    (folder / RESULT_FILE).write_text(result.model_dump_json())


def write_serving_check(folder: Path, beside: bool) -> None:
    """What the serving check found, with a model that takes half of what the one in serving takes."""
    ours, theirs = (Cost(num_bytes=2e6 * k, parameters=12_345 * k, cpu_ms_per_s=1.5 * k, latency_ms=20 * k) for k in (1, 2))
    half = Cost(num_bytes=0.5, parameters=0.5, cpu_ms_per_s=0.5, latency_ms=0.5)
    costs = Costs(candidate=ours, baseline=theirs, ratios=half) if beside else Costs(candidate=ours)
    result = ServingCheckResult(ok=True, reasons=[], clips=8, seconds=1, peak_memory_mb=1, costs=costs)
    folder.mkdir(parents=True)
    (folder / SERVING_CHECK_FILE).write_text(result.model_dump_json())


def write_history(folder: Path, epochs: int = 5) -> None:
    """The Trainer's table."""
    folder.mkdir(parents=True)
    with (folder / "training.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "train_loss", "train_accuracy", "eval_loss", "eval_accuracy"])
        rows = ([epoch, 1 / epoch, 1 - 1 / (epoch + 1), 1.2 / epoch, 0.9] for epoch in range(1, epochs + 1))
        writer.writerows(rows)
