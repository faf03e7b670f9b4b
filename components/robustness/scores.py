# SPDX-License-Identifier: Apache-2.0
"""What the models say about degraded clips: the file that the gate's figures rest on."""

from typing import Self

import numpy as np
from pydantic import BaseModel, model_validator

from beam_jobs.files import create, join, read_text
from components.robustness.config import Degradation, Strength

SCORES_FILE = "robustness.json"
NO_ANSWER = -1


class Answers(BaseModel):
    """Of one model about each clip: the probability of each class, and the share that it hears as speech."""

    probabilities: list[list[float]]
    speech: list[float]


class Condition(BaseModel):
    """One degradation at one strength; the clean clips where both are None. `not_measured` says why there are no answers."""

    degradation: Degradation | None = None
    strength: Strength | None = None
    not_measured: str = ""
    candidate: Answers | None = None
    baseline: Answers | None = None

    @property
    def name(self) -> str:
        """As a slice is named: `degradation=telephone, strength=2`."""
        return f"degradation={self.degradation}, strength={self.strength}" if self.degradation else "clean"

    def scored(self, answers: Answers, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels, int64 [clips], and probabilities, float64 [clips, classes], as the gate's metrics take them.

        Where a model hears no speech, its probabilities say nothing, and the label is one that it cannot be right about.
        """
        heard = np.array(answers.speech) > 0
        return np.where(heard, labels, NO_ANSWER), np.array(answers.probabilities)


class RobustnessScores(BaseModel):
    """The clips that were asked about, and every condition, the clean one first."""

    ids: list[str]
    labels: list[int]
    speaker_ids: list[list[str]]
    conditions: list[Condition]
    thresholds: dict[str, list[float]] = {}
    """By which each model decides, a threshold a class by its name; even ones of a model that is not in it."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for condition in self.conditions:
            for answers in filter(None, (condition.candidate, condition.baseline)):
                if not len(answers.probabilities) == len(answers.speech) == len(self.ids):
                    raise ValueError(f"{condition.name} has answers about {len(answers.speech)} of {len(self.ids)} clips")
        return self


def write_scores(scores: RobustnessScores, uri: str) -> None:
    """Writes the file into the folder of the artifact."""
    with create(join(uri, SCORES_FILE)) as file:
        file.write(scores.model_dump_json().encode())


def read_scores(uri: str) -> RobustnessScores:
    """Reads the file from the folder of the artifact."""
    return RobustnessScores.model_validate_json(read_text(join(uri, SCORES_FILE)))
