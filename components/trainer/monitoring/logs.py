# SPDX-License-Identifier: Apache-2.0
"""Where a training's figures go: TensorBoard, files, Weights & Biases."""

import csv
import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from beam_jobs.errors import UserError
from components.trainer.monitoring.callbacks import Values, format_values

SPLITS = ("train", "eval")
LOG_FILE = "training.log"
TABLE_FILE = "training.csv"


def log_line(folder: Path, message: str) -> None:
    """Adds a line with the time of day to the `training.log` of a folder."""
    with (folder / LOG_FILE).open("a") as log:
        log.write(f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S} {message}\n")


class Log(Protocol):
    """One place that figures go to. Epochs count from 1."""

    def epoch(self, epoch: int, values: Values) -> None:
        """Takes an epoch's losses, metrics and learning rate."""

    def report(self, epoch: int, split: str, text: str, matrix: np.ndarray) -> None:
        """Takes a classification report and a picture (uint8 [height, width, 4]) of a confusion matrix."""

    def close(self, failed: bool) -> None:
        """Ends the log; nothing else may be called after it."""


class TensorBoardLog:
    """Events in a folder a split, which TensorBoard shows as two runs."""

    # Not Keras' callback: it has a writer of its own to the same folders, and TensorBoard reads the files of a folder one
    # after the other, so of two that grow at once it would show one up to the present and the other up to its start.
    def __init__(self, folder: Path) -> None:
        self._writers = {split: tf.summary.create_file_writer(str(folder / split)) for split in SPLITS}

    def epoch(self, epoch: int, values: Values) -> None:
        """Writes scalars."""
        for split, measured in values.items():
            with self._writers[split].as_default(epoch):
                for name, value in measured.items():
                    tf.summary.scalar(name, value)
            self._writers[split].flush()

    def report(self, epoch: int, split: str, text: str, matrix: np.ndarray) -> None:
        """Writes a text and an image."""
        with self._writers[split].as_default(epoch):
            tf.summary.text("classification_report", f"```\n{text}\n```")
            tf.summary.image("confusion_matrix", matrix[np.newaxis])
        self._writers[split].flush()

    def close(self, failed: bool) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()


class FileLog:
    """`training.csv`, a line an epoch, and `training.log`, with times and reports. A resumed training goes on in both."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._table = (folder / TABLE_FILE).open("a", newline="")

    def say(self, message: str) -> None:
        """Writes a line with the time of day to `training.log`."""
        log_line(self._folder, message)

    def epoch(self, epoch: int, values: Values) -> None:
        """Writes a line to each."""
        row = {f"{split}_{name}": value for split, measured in values.items() for name, value in measured.items()}
        writer = csv.DictWriter(self._table, ["epoch", *row])
        if self._table.tell() == 0:
            writer.writeheader()
        writer.writerow({"epoch": epoch, **row})
        self._table.flush()
        self.say(f"epoch {epoch}: {format_values(values)}")

    def report(self, epoch: int, split: str, text: str, matrix: np.ndarray) -> None:
        """Writes the text to `training.log`."""
        self.say(f"classification report of {split} after epoch {epoch}\n{text.rstrip()}")

    def close(self, failed: bool) -> None:
        """Closes the files."""
        self.say("failed" if failed else "done")
        self._table.close()


class WandbLog:
    """A run of Weights & Biases, whose files lie in `folder/wandb` whether they are uploaded or not.

    Raises:
        UserError: the package wandb is not installed, or refuses to start: no key, no connection.
    """

    def __init__(self, folder: Path, project: str, config: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError(
                "train.wandb_project is set and the package wandb is not installed; install it or leave the key out"
            ) from None
        folder.mkdir(parents=True, exist_ok=True)  # wandb would write elsewhere
        # The terminal belongs to `beam_jobs.console`, which moves the file descriptors that wandb would copy from.
        settings = wandb.Settings(console="off", silent=True)
        try:
            self._run = wandb.init(project=project, dir=str(folder), config=config, settings=settings)
        except wandb.Error as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise UserError(
                f"train.wandb_project is set and wandb does not start: {reason}; "
                "set WANDB_API_KEY, or WANDB_MODE=offline, or leave the key out"
            ) from error
        self._wandb = wandb

    def epoch(self, epoch: int, values: Values) -> None:
        """Logs scalars named `train/loss` and the like."""
        self._run.log({f"{split}/{name}": value for split, all in values.items() for name, value in all.items()}, step=epoch)

    def report(self, epoch: int, split: str, text: str, matrix: np.ndarray) -> None:
        """Logs the text as HTML, which keeps its columns, and the image."""
        html = self._wandb.Html(f"<pre>{text}</pre>")
        self._run.log(
            {f"{split}/classification_report": html, f"{split}/confusion_matrix": self._wandb.Image(matrix)}, step=epoch
        )

    def close(self, failed: bool) -> None:
        """Ends the run."""
        self._run.finish(exit_code=int(failed))
        # finish() may return before wandb's service process has put the last records on disk; its end is awaited here.
        self._wandb.teardown()
