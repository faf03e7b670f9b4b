# SPDX-License-Identifier: Apache-2.0
"""Going on where a killed training stopped: weights, optimizer, epoch and what early stopping knows."""

import io
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

NEVER = 2**31
SAVED_EPOCH = "ckpt_saved_epoch/.ATTRIBUTES/VARIABLE_VALUE"


def finished_epochs(folder: str) -> int:
    """Number of epochs in the checkpoint under `folder`; 0 where there is none."""
    latest = tf.train.latest_checkpoint(f"{folder}/chief")
    return 0 if latest is None else int(tf.train.load_variable(latest, SAVED_EPOCH)) + 1


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Early stopping whose best weights and patience are part of the model's checkpoint. Must stand before `Backup`.

    Without a patience it never stops and keeps the last epoch's weights.
    """

    def __init__(self, patience: int | None) -> None:
        super().__init__("val_loss", patience=patience or NEVER, restore_best_weights=patience is not None)

    def set_model(self, model: keras.Model) -> None:
        """Hangs this callback's state on the model, whose checkpoint then holds it."""
        super().set_model(model)
        model.early_stopping = _State(self)

    @property
    def over(self) -> bool:
        """Whether training has been stopped."""
        return self.best_weights is not None and self.wait >= self.patience


class _State(tf.train.experimental.PythonState):
    def __init__(self, stopping: EarlyStopping) -> None:
        super().__init__()
        self._stopping = stopping

    def serialize(self) -> bytes:
        stopping, buffer = self._stopping, io.BytesIO()
        numbers = {"wait": stopping.wait, "best": stopping.best, "best_epoch": stopping.best_epoch}
        np.savez(buffer, **numbers, **{f"weight{n}": weight for n, weight in enumerate(stopping.best_weights or ())})
        return buffer.getvalue()

    def deserialize(self, state: bytes) -> None:
        stopping, values = self._stopping, np.load(io.BytesIO(state))
        stopping.wait, stopping.best_epoch = int(values["wait"]), int(values["best_epoch"])
        stopping.best = float(values["best"])
        stopping.best_weights = [values[f"weight{n}"] for n in range(len(values.files) - 3)] or None


class Backup(keras.callbacks.BackupAndRestore):
    """Keras' own, which starts no new epoch where early stopping had ended the training that is restored.

    The checkpoint stays: the model is not exported yet when `fit` ends.
    """

    def __init__(self, folder: str, stopping: EarlyStopping) -> None:
        super().__init__(folder, delete_checkpoint=False)
        self._stopping = stopping

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restores, if there is anything to restore."""
        super().on_train_begin(logs)
        if self._stopping.over:
            self._training_state._ckpt_saved_epoch.assign(self.params["epochs"] - 1)
