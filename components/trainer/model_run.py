# SPDX-License-Identifier: Apache-2.0
"""What later nodes read in a training's model_run folder: what was trained, and what the network predicted before its export."""

import json
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from beam_jobs.config import validate
from components.trainer.spec import TrainingSpec

SPEC_FILE = "config.json"
EXPECTED_FILE = "expected_predictions.json"
OPERATING_POINT_FILE = "operating_point.json"


def save_spec(spec: TrainingSpec, folder: str) -> None:
    """Writes what a model was trained with."""
    (Path(folder) / SPEC_FILE).write_text(spec.model_dump_json(indent=2, exclude={"clips"}) + "\n")


def load_spec(folder: str) -> TrainingSpec:
    """Reads it back.

    Raises:
        UserError: the folder is of a version of this project with other settings.
    """
    path = Path(folder) / SPEC_FILE
    return validate(TrainingSpec, json.loads(path.read_text()), path)


def save_expected(predictions: dict[str, np.ndarray], folder: str) -> None:
    """Writes what the trained network predicted for some eval clips, probabilities float32 [classes] by clip id."""
    values = {name: [float(value) for value in probabilities] for name, probabilities in predictions.items()}
    (Path(folder) / EXPECTED_FILE).write_text(json.dumps(values, indent=1) + "\n")


def load_expected(folder: str) -> dict[str, np.ndarray]:
    """Reads them back."""
    values = json.loads((Path(folder) / EXPECTED_FILE).read_text())
    return {name: np.array(probabilities, np.float32) for name, probabilities in values.items()}


class OperatingPoint(BaseModel):
    """The decision thresholds that are best on clips of the eval split, and what the exported model says of those clips.

    `chosen` has one for each class, together 1; `low` and `high` are the ends of the interval of each, with `confidence`, by a
    bootstrap over the `speakers` of these clips. `used` says whether the exported model decides by them; else it takes the most
    probable class.
    """

    chosen: list[float]
    low: list[float]
    high: list[float]
    confidence: float
    speakers: int
    labels: list[int]
    probabilities: list[list[float]]
    used: bool = False

    def clear(self) -> bool:
        """Whether the clips say that even thresholds are not as good: whether one lies outside of its interval."""
        even = 1 / len(self.chosen)
        return not all(low <= even <= high for low, high in zip(self.low, self.high, strict=True))


def save_operating_point(point: OperatingPoint, folder: str) -> None:
    """Writes it."""
    (Path(folder) / OPERATING_POINT_FILE).write_text(point.model_dump_json() + "\n")
