# SPDX-License-Identifier: Apache-2.0
"""What a training shows while it runs."""

import time
from contextlib import ExitStack
from typing import Any

import tf_keras as keras

from beam_jobs.console import Advance, console, progress, say

Values = dict[str, dict[str, float]]
"""Losses and metrics by split, then by name."""


class EpochProgress(keras.callbacks.Callback):
    """A bar over the epochs with the time left; a line an epoch where there is no terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = ExitStack()
        self._advance: Advance | None = None
        self._started = 0.0
        self._first = self._done = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Opens the bar before the first epoch, which in a resumed training is not epoch 0."""
        if self._started:
            return
        self._started, self._first = time.monotonic(), epoch
        if console.is_terminal:
            what = f"training from epoch {epoch + 1}" if epoch else "training"
            self._advance = self._bar.enter_context(progress(what, self.params["epochs"] - epoch, unit="epochs"))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves the bar by one epoch, or writes the epoch's line."""
        self._done = epoch + 1
        epochs, words = self.params["epochs"], format_values(epoch_values(self.model, logs))
        elapsed_s = time.monotonic() - self._started
        if self._advance:
            self._advance(1, note=f"{words}, {_clock(elapsed_s)} elapsed")
        else:
            left_s = elapsed_s * (epochs - self._done) / (self._done - self._first)
            times = f"{_clock(elapsed_s)} elapsed, {_clock(left_s)} left"
            say(f"  training: epoch {self._done}/{epochs}: {words}, {times}")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Closes the bar and says so where early stopping left it short of its end."""
        self.close()
        if 0 < self._done < self.params["epochs"]:
            say(f"  training: stopped early after epoch {self._done} of {self.params['epochs']}")

    def close(self) -> None:
        """Closes the bar, which would otherwise outlive a training that fails."""
        self._bar.close()


def epoch_values(network: keras.Model, logs: dict[str, Any] | None) -> Values:
    """What Keras hands to a callback at an epoch's end, with the `learning_rate` under train."""
    values: Values = {"train": {}, "eval": {}}
    for name, value in (logs or {}).items():
        # The rate is read from the optimizer instead, because Keras adds it only for some callbacks.
        if name != "lr":
            values["eval" if name.startswith("val_") else "train"][name.removeprefix("val_")] = float(value)
    values["train"]["learning_rate"] = float(keras.backend.get_value(network.optimizer.learning_rate))
    return values


def format_values(values: Values) -> str:
    """`train loss 0.512 accuracy 0.812 learning rate 0.0013, eval loss 0.480 accuracy 0.833`."""
    return ", ".join(
        " ".join([split, *(_format_value(name, value) for name, value in measured.items())])
        for split, measured in values.items()
        if measured
    )


def _format_value(name: str, value: float) -> str:
    return f"{name.replace('_', ' ')} {value:.2g}" if name == "learning_rate" else f"{name.replace('_', ' ')} {value:.3f}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
