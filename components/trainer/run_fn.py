"""The TFX Trainer's entry point: `run_fn='components.trainer.run_fn.run_fn'`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from beam_jobs.errors import UserError
from components.trainer.callbacks import EpochProgress, StopOnDivergence
from components.trainer.config import ModelConfig, TrainConfig
from components.trainer.data import evaluation_dataset, training_dataset
from components.trainer.model import build_model
from components.trainer.signatures import ServedModel
from components.trainer.tuning import with_hyperparameters

SPEECH_BLOCKS_PER_S = 10
WARMUP_SHARE = 0.1


class Training(NamedTuple):
    """A trained network, the preprocessing graph before it, and the figures of every epoch."""

    network: keras.Model
    transform: Any
    history: keras.callbacks.History


def run_fn(fn_args: Any) -> None:
    """Trains the network on the raw examples and writes the SavedModel to `fn_args.serving_model_dir`.

    Args:
        fn_args: TFX's FnArgs. Of its `custom_config` these keys are read: `model` and `train` (sections of the
            configuration), `clips` (`num_samples`, `sample_rate_hz`), `classes` (names by label) and `seed`. What a Tuner
            chose, `hyperparameters`, goes before the sections.

    Raises:
        UserError: the clips are too short for the model or the crop, a split is empty, or the loss diverged.
    """
    config = with_hyperparameters(fn_args.custom_config, fn_args.hyperparameters)
    network, transform, _ = train_network(fn_args, config, fn_args.model_run_dir)
    num_samples, sample_rate_hz = config["clips"]["num_samples"], config["clips"]["sample_rate_hz"]
    ServedModel(network, transform, num_samples, sample_rate_hz, config["classes"]).save(fn_args.serving_model_dir)


def train_network(fn_args: Any, config: Mapping[str, Any], log_dir: str) -> Training:
    """Trains the network of `config` (as `run_fn` reads it) on the examples of `fn_args`; TensorBoard logs go to `log_dir`.

    Raises:
        UserError: as `run_fn`.
    """
    train, seed, classes = TrainConfig.model_validate(config["train"]), config["seed"], config["classes"]
    num_samples, sample_rate_hz = config["clips"]["num_samples"], config["clips"]["sample_rate_hz"]
    crop_samples = _crop_samples(train, num_samples, sample_rate_hz)
    for split, patterns in (("train", fn_args.train_files), ("eval", fn_args.eval_files)):
        _require_clips(patterns, split)

    keras.utils.set_random_seed(seed)
    network = build_model(ModelConfig.model_validate(config["model"]), crop_samples, sample_rate_hz, len(classes))
    transform = tft.TFTransformOutput(fn_args.transform_graph_path).transform_features_layer()
    block_samples = sample_rate_hz // SPEECH_BLOCKS_PER_S
    train_data = training_dataset(fn_args.train_files, transform, train.batch_size, crop_samples, block_samples, seed)
    eval_data = evaluation_dataset(fn_args.eval_files, transform, train.batch_size)
    history = fit(network, train, train_data, eval_data, len(classes), log_dir)
    return Training(network, transform, history)


def fit(
    network: keras.Model,
    train: TrainConfig,
    train_data: tf.data.Dataset,
    eval_data: tf.data.Dataset,
    num_classes: int,
    log_dir: str,
) -> keras.callbacks.History:
    """Trains `network` and leaves it with the weights of its best epoch by eval loss; TensorBoard logs go to `log_dir`.

    Raises:
        UserError: the loss diverged.
    """

    def loss(label: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        one_hot = tf.one_hot(tf.cast(tf.reshape(label, [-1]), tf.int32), num_classes)
        return keras.losses.categorical_crossentropy(one_hot, probabilities, label_smoothing=train.label_smoothing)

    network.compile(
        keras.optimizers.AdamW(train.learning_rate, weight_decay=train.weight_decay),
        loss,
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=train.early_stopping_patience, restore_best_weights=True)
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch: learning_rate(train, epoch)),
        keras.callbacks.TensorBoard(log_dir, write_graph=False),
        stopping,
        StopOnDivergence(),
        EpochProgress(),
    ]
    history = network.fit(train_data, validation_data=eval_data, epochs=train.epochs, verbose=0, callbacks=callbacks)
    # Keras 2 restores the best weights only where it stopped early, not after the last epoch.
    if stopping.best_weights is not None:
        network.set_weights(stopping.best_weights)
    return history


def learning_rate(train: TrainConfig, epoch: int) -> float:
    """The learning rate of an epoch (from 0): a linear warm-up, then half a cosine towards 0."""
    warmup = max(1, round(WARMUP_SHARE * train.epochs))
    if epoch < warmup:
        return train.learning_rate * (epoch + 1) / (warmup + 1)
    done = (epoch - warmup) / max(1, train.epochs - warmup)
    return train.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def _crop_samples(train: TrainConfig, num_samples: int, sample_rate_hz: int) -> int:
    crop_samples = round(train.crop_s * sample_rate_hz)
    if crop_samples > num_samples:
        raise UserError(
            f"train.crop_s is {train.crop_s:g} s, and the clips are {num_samples / sample_rate_hz:g} s long; "
            "make crop_s smaller or the clips longer"
        )
    return crop_samples


def _require_clips(patterns: Sequence[str], split: str) -> None:
    files = tf.io.gfile.glob(list(patterns))
    if not files or not list(tf.data.TFRecordDataset(files).take(1)):
        raise UserError(f"the {split} split holds no clips; set clips.num_clips.{split} to at least 1")
