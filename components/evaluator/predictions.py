# SPDX-License-Identifier: Apache-2.0
"""Raw predictions of the test clips: what the gate's intervals, the serving check and the report rest on."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from beam_jobs.files import create, join, read_text
from components.decision_rule import predicted_classes

PREDICTIONS_FILE = "predictions.json"
CANDIDATE, BASELINE = "candidate", "baseline"


@dataclasses.dataclass(frozen=True, slots=True)
class Predictions:
    """What both models say about each test clip, and what is known of the clip; sorted by clip id.

    `labels` and `num_speakers` are int64 [clips], `rms_dbfs` and `speech_ratio` float32 [clips], the probabilities of
    `candidate` and `baseline` float32 [clips, classes]. `baseline` is None where no model is in serving. The names of the
    classes are those that the model itself gave, in its order; None where it gave none, or not the same for every clip.
    The thresholds are those by which each model decides, float64 [classes]; None, as in older files, for even ones.
    """

    ids: list[str]
    labels: np.ndarray
    candidate: np.ndarray
    baseline: np.ndarray | None
    candidate_classes: list[str] | None
    speaker_ids: list[tuple[str, ...]]
    utterance_ids: list[tuple[str, ...]]
    modes: list[str]
    num_speakers: np.ndarray
    rms_dbfs: np.ndarray
    speech_ratio: np.ndarray
    candidate_thresholds: np.ndarray | None = None
    baseline_thresholds: np.ndarray | None = None

    def predicted(self) -> np.ndarray:
        """The class that the candidate gives each clip: int64 [clips], -1 for none."""
        return predicted_classes(self.candidate, self.candidate_thresholds)

    def baseline_predicted(self) -> np.ndarray | None:
        """The same of the model in serving; None where there is none."""
        return None if self.baseline is None else predicted_classes(self.baseline, self.baseline_thresholds)


def write_predictions(rows: Iterable[Mapping[str, Any]], thresholds: Mapping[str, np.ndarray], uri: str) -> None:
    """Writes the predictions file into the folder `uri`.

    Args:
        rows: one for each clip: `id`, `label`, `mode`, `num_speakers`, `speaker_ids`, `utterance_ids`, `rms_dbfs`,
            `speech_ratio`, and of each model its probabilities and the classes' names (`candidate`, `candidate_classes`, …).
        thresholds: by which each model decides, float [classes] by its name; with a baseline where the rows hold its answers.
        uri: of the ModelEvaluation artifact.
    """
    ordered = sorted(rows, key=lambda row: str(row["id"]))

    def column(name: str) -> list[Any]:
        return [row[name] for row in ordered]

    content = {
        "ids": column("id"),
        "labels": column("label"),
        "candidate": column("candidate"),
        "baseline": column("baseline") if BASELINE in thresholds else None,
        "candidate_classes": _one_order(column("candidate_classes")),
        "speaker_ids": column("speaker_ids"),
        "utterance_ids": column("utterance_ids"),
        "modes": column("mode"),
        "num_speakers": column("num_speakers"),
        "rms_dbfs": column("rms_dbfs"),
        "speech_ratio": column("speech_ratio"),
        **{f"{name}_thresholds": values.tolist() for name, values in thresholds.items()},
    }
    with create(join(uri, PREDICTIONS_FILE)) as file:
        file.write(json.dumps(content).encode())


def _one_order(names: list[list[str]]) -> list[str] | None:
    return names[0] if names and names[0] and all(row == names[0] for row in names) else None


def read_predictions(uri: str) -> Predictions:
    """Reads the predictions file from the folder of a ModelEvaluation artifact."""
    content = json.loads(read_text(join(uri, PREDICTIONS_FILE)))
    for name in ("labels", "num_speakers"):
        content[name] = np.array(content[name], np.int64)
    for name in ("candidate", "baseline", "rms_dbfs", "speech_ratio"):
        if content[name] is not None:
            content[name] = np.array(content[name], np.float32)
    for name in ("candidate_thresholds", "baseline_thresholds"):
        if content.get(name) is not None:
            content[name] = np.array(content[name], np.float64)
    for name in ("speaker_ids", "utterance_ids"):
        content[name] = [tuple(items) for items in content[name]]
    return Predictions(**content)
