# SPDX-License-Identifier: Apache-2.0
"""Watching a training: its figures after every epoch, reports every few, and what was trained."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from sklearn.metrics import classification_report, confusion_matrix

from beam_jobs.clip_store.scratch import Scratch
from components.trainer.input.batches import read_in_order
from components.trainer.input.crops import Transform, labelled_crops
from components.trainer.input.heard import CropLabeller
from components.trainer.monitoring.callbacks import EpochProgress, epoch_values
from components.trainer.monitoring.logs import FileLog, Log, TensorBoardLog, WandbLog
from components.trainer.monitoring.plots import draw_confusion_matrix, draw_model, pixels
from components.trainer.spec import TrainingSpec

MODEL_PICTURE = "model.png"
BATCH = 8
"""Crops that the network sees at once; a whole clip of 60 s is read for each."""


@dataclass(frozen=True, slots=True)
class MonitoringCrops:
    """Crops of a split's clips, the same ones for the whole of a training.

    `waveform` is float32 [crops, samples], `label` int64 [crops].
    """

    waveform: np.ndarray
    label: np.ndarray


def draw_crops(
    patterns: Sequence[str],
    transform: Transform,
    count: int,
    crop_samples: int,
    seed: int,
    labeller: CropLabeller | None = None,
    scratch: Scratch | None = None,
) -> MonitoringCrops:
    """Draws a crop, as long as those trained on, from each of the first `count` clips of a split, or of all if it has fewer.

    The first clips are as good a draw as any and spare reading the others: each clip's label and speakers are drawn with no
    regard to its number.
    """
    batches = read_in_order(patterns, scratch).batch(BATCH).take(-(-count // BATCH)).enumerate()
    crops = batches.map(lambda k, batch: labelled_crops(batch, transform, crop_samples, tf.stack([seed, k]), labeller))
    waveforms, labels = zip(*crops.as_numpy_iterator(), strict=True)
    return MonitoringCrops(np.concatenate(waveforms)[:count], np.concatenate(labels)[:count])


class Monitor(keras.callbacks.Callback):
    """Hands each epoch's figures to `logs`, and every `every` epochs but the last how the network does on each split's crops.

    It belongs behind EarlyStopping, to know the last epoch. It works on one worker alone: nothing in it waits for the others.
    """

    def __init__(self, crops: Mapping[str, MonitoringCrops], classes: Sequence[str], every: int, logs: Sequence[Log]) -> None:
        super().__init__()
        self._crops, self._classes, self._every, self._logs = crops, list(classes), every, logs
        self._epoch = 0

    def set_model(self, model: keras.Model) -> None:
        """Compiles the prediction."""
        super().set_model(model)
        strategy = model.distribute_strategy

        def forward(batch: tf.Tensor) -> tf.Tensor:
            return model(batch, training=False)["probabilities"]

        @tf.function
        def predict(batch: tf.Tensor) -> Any:
            # In a replica's context: outside of it a multi-worker strategy reads the batch norms' moving statistics as the
            # mean over all workers, and would wait for those that do not ask.
            return strategy.run(forward, [batch])

        self._predict = lambda batch: strategy.experimental_local_results(predict(tf.constant(batch)))[0].numpy()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the figures, and reports where it is time and this is not the end."""
        self._epoch = epoch + 1
        values = epoch_values(self.model, logs)
        for log in self._logs:
            log.epoch(self._epoch, values)
        last = self._epoch == self.params["epochs"] or self.model.stop_training
        if self._epoch % self._every == 0 and not last:
            self.report()

    def report(self) -> None:
        """Logs a classification report and a confusion matrix of each split with the weights that the network has now."""
        if not self._epoch:  # a resumed training that had been through all its epochs
            return
        for split, crops in self._crops.items():
            batches = np.array_split(crops.waveform, range(BATCH, len(crops.waveform), BATCH))
            probabilities = np.concatenate([self._predict(batch) for batch in batches])
            predicted, every_label = probabilities.argmax(axis=1), range(len(self._classes))
            # All labels, for crops may be of one class, and a matrix is to be read by the same rows in every epoch.
            text = classification_report(crops.label, predicted, labels=every_label, target_names=self._classes, zero_division=0)
            matrix = confusion_matrix(crops.label, predicted, labels=every_label)
            picture = draw_confusion_matrix(matrix, self._classes, f"{split}, epoch {self._epoch}")
            for log in self._logs:
                log.report(self._epoch, split, text, pixels(picture))


@contextmanager
def watched(
    folder: str, network: keras.Model, spec: TrainingSpec, crops: Mapping[str, MonitoringCrops], is_chief: bool = True
) -> Iterator[list[keras.callbacks.Callback]]:
    """Yields the callbacks that watch a training, to be put behind all others; reports once more when left without an error.

    That last report is of the weights that the network has by then: those that are kept.

    Args:
        folder: TFX's model_run_dir; all files go there.
        network: what is trained, built.
        spec: what is trained.
        crops: what is reported on, by split.
        is_chief: False for all workers but one of several: nothing is written and no callback yielded.

    Raises:
        UserError: Weights & Biases is asked for and cannot be had.
    """
    if not is_chief:
        yield []
        return
    train, path = spec.train, Path(folder)
    wandb = [WandbLog(path, train.wandb_project, spec.model_dump(mode="json", exclude={"clips"}))] if train.wandb_project else []
    path.mkdir(parents=True, exist_ok=True)
    files = FileLog(path)
    logs: list[Log] = [files, TensorBoardLog(path), *wandb]
    progress, monitor = EpochProgress(), Monitor(crops, spec.classes, train.monitor_every, logs)
    failed = True
    try:
        draw_model(network).savefig(path / MODEL_PICTURE)
        files.say(f"training {network.name}, {network.count_params():,} parameters, {train.epochs} epochs")
        yield [progress, monitor]
        monitor.report()
        failed = False
    finally:
        progress.close()
        for log in logs:
            log.close(failed)
