"""The files of a training, beside its TensorBoard events: the configuration that was trained, to be read and to be loaded."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from components.trainer.config import ModelConfig, TrainConfig

CONFIG_FILE = "config.json"
MODEL_PICTURE = "model.png"
LOG_FILE = "training.log"
TABLE_FILE = "training.csv"
ANSWERS_FILE = "answers.json"


def save_config(config: dict[str, Any], folder: str) -> None:
    """Writes what a model was trained with: the Trainer's whole `custom_config`."""
    (Path(folder) / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")


def load_config(folder: str) -> tuple[ModelConfig, TrainConfig]:
    """Reads the two sections back that `components.trainer` is configured by.

    Raises:
        pydantic.ValidationError: the folder is of a version of this project with other settings.
    """
    config = json.loads((Path(folder) / CONFIG_FILE).read_text())
    return ModelConfig.model_validate(config["model"]), TrainConfig.model_validate(config["train"])


def save_answers(answers: dict[str, np.ndarray], folder: str) -> None:
    """Writes what the trained network said of some eval clips, probabilities float32 [classes] by clip id."""
    values = {name: [float(value) for value in probabilities] for name, probabilities in answers.items()}
    (Path(folder) / ANSWERS_FILE).write_text(json.dumps(values, indent=1) + "\n")


def load_answers(folder: str) -> dict[str, np.ndarray]:
    """Reads them back."""
    values = json.loads((Path(folder) / ANSWERS_FILE).read_text())
    return {name: np.array(probabilities, np.float32) for name, probabilities in values.items()}
