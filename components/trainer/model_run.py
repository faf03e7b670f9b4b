"""What later nodes read in a training's model_run folder: what was trained, and what the network predicted before its export."""

import json
from pathlib import Path

import numpy as np

from beam_jobs.config import validate
from components.trainer.spec import TrainingSpec

SPEC_FILE = "config.json"
EXPECTED_FILE = "expected_predictions.json"


def save_spec(spec: TrainingSpec, folder: str) -> None:
    """Writes what a model was trained with."""
    (Path(folder) / SPEC_FILE).write_text(spec.model_dump_json(indent=2) + "\n")


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
