"""What a training run shows while it runs, and what stops it."""

import math
from contextlib import ExitStack
from typing import Any

import tf_keras as keras

from beam_jobs.console import progress
from beam_jobs.errors import UserError
from components.trainer.clip_ids import ClipIds


class EpochProgress(keras.callbacks.Callback):
    """A bar over the epochs that are left, with the time left, and each epoch's losses and accuracies behind it."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begins without a bar: a training that goes on learns later with which epoch."""
        self._bar: ExitStack | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Opens the bar."""
        if self._bar is None:
            self._bar = ExitStack()
            self._advance = self._bar.enter_context(progress("training", self.params["epochs"] - epoch, unit="epochs"))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves the bar by one epoch."""
        values = logs or {}
        self._advance(
            1,
            note=f"loss {values.get('loss', math.nan):.3f} accuracy {values.get('accuracy', math.nan):.3f}, "
            f"eval loss {values.get('val_loss', math.nan):.3f} accuracy {values.get('val_accuracy', math.nan):.3f}",
        )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the bar; early stopping may have left it short of its end."""
        if self._bar is not None:
            self._bar.close()


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
