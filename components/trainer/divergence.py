# SPDX-License-Identifier: Apache-2.0
"""The end of a training that has diverged."""

import math
from typing import Any

import tf_keras as keras

from beam_jobs.errors import UserError
from components.trainer.input.clip_ids import ClipIds


class StopOnDivergence(keras.callbacks.Callback):
    """Stops a training whose loss is no longer a number: every later step would be wasted and the model worthless.

    Args:
        clip_ids: watches the training batches, so that the clips of the step can be named.
        replicas: of this process; each takes a batch of its own in every step.
    """

    def __init__(self, clip_ids: ClipIds | None = None, replicas: int = 1) -> None:
        super().__init__()
        self._clip_ids = clip_ids
        self._replicas = replicas
        self._epoch = 0
        self._steps = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remembers where training is."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the loss.

        Raises:
            UserError: it is NaN or infinite.
        """
        self._steps += 1
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise UserError(
                f"training diverged: the loss is {loss} in epoch {self._epoch + 1}, step {batch + 1}{self._clips()}; "
                "lower train.learning_rate"
            )

    def _clips(self) -> str:
        if self._clip_ids is None:
            return ""
        last = self._steps * self._replicas
        return f", with the clips {', '.join(self._clip_ids.of(number) for number in range(last - self._replicas, last))}"
