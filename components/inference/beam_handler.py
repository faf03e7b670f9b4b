# SPDX-License-Identifier: Apache-2.0
"""The model in a Beam worker: what `beam_jobs.predict` hands its shards to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beam_jobs.predict_shard import ShardHandler
from components.inference.formats import prediction_row
from components.inference.model import Model, load_model
from components.model_digest import model_digest


class RecordingHandler(ShardHandler):
    """Answers of the version that is the newest at the start.

    Args:
        folder: a serving folder or that of one version, at the same path on every machine.

    Raises:
        UserError: there is no model in it.
    """

    def __init__(self, folder: str) -> None:
        model = load_model(Path(folder).absolute())
        self._folder, self._classes = str(model.folder), model.classes

    def identity(self) -> dict[str, Any]:
        """The digest of the model's files, its version and its classes."""
        folder = Path(self._folder)
        return {"model": model_digest(folder), "version": folder.name, "classes": list(self._classes)}

    def load_model(self) -> Model:
        """Loads it, in a worker."""
        return load_model(self._folder)

    def row(self, model: Model, file: str, name: str) -> Mapping[str, Any]:
        """As `audio-gender predict --format csv` writes it."""
        return prediction_row(name, model.predict(file, name))
