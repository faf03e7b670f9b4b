# SPDX-License-Identifier: Apache-2.0
"""One training in this process: build the network, fit it, export it."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from beam_jobs.clip_store import ClipStore
from beam_jobs.console import say
from beam_jobs.errors import UserError
from beam_jobs.examples import decode_clip
from beam_jobs.files import absolute
from beam_jobs.labels import mixed_index
from components.trainer.checkpoints import Backup, EarlyStopping, finished_epochs
from components.trainer.config import TrainConfig, training_problem
from components.trainer.divergence import StopOnDivergence
from components.trainer.fits import choose_thresholds_on_eval, fit_pooling_on_eval
from components.trainer.input.batches import (
    NotSpeech,
    evaluation_dataset,
    own_shards,
    record_cache,
    training_dataset,
)
from components.trainer.input.clip_ids import ClipIds
from components.trainer.input.heard import CropLabeller
from components.trainer.input.not_speech import make_sounds
from components.trainer.model_run import save_expected, save_spec
from components.trainer.monitoring.monitor import draw_crops, watched
from components.trainer.network.inference import Inference
from components.trainer.network.model import build_model, precision
from components.trainer.network.pooling import DEFAULT_FIT
from components.trainer.network.signatures import ServedModel
from components.trainer.reference import save_reference
from components.trainer.spec import TrainingSpec
from components.trainer.workers.strategy import (
    PeerLostError,
    Schedule,
    distribute,
    is_chief,
    make_strategy,
    num_workers,
    schedule,
    wait_for_all,
    worker_index,
    worker_seed,
)

WARMUP_SHARE = 0.1
PREDICTED_CLIPS = 8
MAX_SOUNDS = 960
"""That are not speech, each a second longer than a crop; made in 12 s of CPU time; 250 MB of crops of 3 s at 16 kHz."""
OF_DAMAGE = (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.UnknownError)
"""What TensorFlow raises over records that are not whole; the last two have other causes too."""


class Training(NamedTuple):
    """A trained network, the preprocessing graph in front of it, and the figures of every epoch."""

    network: keras.Model
    transform: Any
    history: keras.callbacks.History


def train_and_export(fn_args: Any, spec: TrainingSpec) -> None:
    """The work of `run_fn` in this process: all of it, or that of one worker. The chief alone leaves files behind.

    Raises:
        UserError: as `run_fn`.
    """
    try:
        _train_and_export(fn_args, spec)
    except tf.errors.OpError as error:
        if "Collective ops is aborted" not in error.message:
            raise
        raise PeerLostError(
            "another training worker is gone; start all workers again: with `checkpoints` they go on from the last finished epoch"
        ) from error


def _train_and_export(fn_args: Any, spec: TrainingSpec) -> None:
    with spec.open_clips() as clips:
        _train_and_export_from(clips, fn_args, spec)


def _train_and_export_from(clips: ClipStore, fn_args: Any, spec: TrainingSpec) -> None:
    network, transform, _ = train_network(clips, fn_args, spec, fn_args.model_run_dir)
    strategy = network.distribute_strategy
    # Some variables are a mean over the workers: all must read them, though only the chief has a use for them.
    weights = network.get_weights()
    if is_chief(strategy):
        served = build_model(spec.model, spec.num_samples, spec.sample_rate_hz, len(spec.classes))
        served.set_weights(weights)
        save_spec(spec, fn_args.model_run_dir)
        network_of = (served, transform, spec.model, spec.num_samples, spec.sample_rate_hz, spec.classes, spec.max_duration_s)
        fit = DEFAULT_FIT
        if mixed_index(spec.classes) is not None:
            fit = fit_pooling_on_eval(Inference(*network_of), clips, fn_args, spec)
        model = ServedModel(*network_of, fit)
        choose_thresholds_on_eval(model, clips, fn_args, spec)
        save_expected(_expected_predictions(model, clips), fn_args.model_run_dir)
        model.save(fn_args.serving_model_dir)
        save_reference(model, clips, fn_args)
        if spec.checkpoints and tf.io.gfile.exists(spec.checkpoints):
            tf.io.gfile.rmtree(spec.checkpoints)
    wait_for_all(strategy)


def _expected_predictions(model: ServedModel, clips: ClipStore) -> dict[str, np.ndarray]:
    """Probabilities of some clips, by id, for the serving check: the exported model must give the same."""
    records = list(clips.spread("eval", PREDICTED_CLIPS))
    probabilities = model.serve_examples(tf.constant(records))["probabilities"].numpy()
    return {decode_clip(record).id: row for record, row in zip(records, probabilities, strict=True)}


def train_network(clips: ClipStore, fn_args: Any, spec: TrainingSpec, log_dir: str) -> Training:
    """Trains the network of `spec` on the clips, behind the transform graph of `fn_args`.

    What watches the training writes to `log_dir`.

    Raises:
        UserError: as `run_fn`.
    """
    with clips.errors(OF_DAMAGE):
        return _train_network(clips, fn_args, spec, log_dir)


def _train_network(clips: ClipStore, fn_args: Any, spec: TrainingSpec, log_dir: str) -> Training:
    if problem := training_problem(spec.model, spec.train, spec.num_samples, spec.sample_rate_hz):
        raise UserError(problem)
    train, checkpoints, crop_samples = spec.train, spec.checkpoints, spec.crop_samples
    strategy = make_strategy(train)
    chief = is_chief(strategy)
    workers, scratch = num_workers(strategy), clips.scratch
    train_clips, eval_clips = _clips(clips, "train", workers), _clips(clips, "eval")
    labeller = CropLabeller.of(spec.classes, spec.sample_rate_hz)
    replicas, static_shapes = strategy.num_replicas_in_sync, train.strategy == "tpu"
    plan = schedule(sum(train_clips.values()), sum(eval_clips.values()), train.batch_size, replicas, static_shapes)

    done = finished_epochs(checkpoints) if checkpoints else 0
    if done and chief:
        say(f"training goes on from epoch {done + 1} of {train.epochs}: {absolute(str(checkpoints))}")
    # What is left of a training that goes on must not be a repetition of its beginning.
    seed = train.seed + done
    keras.utils.set_random_seed(seed)
    with strategy.scope(), precision(train.precision):
        network = build_model(
            spec.model, spec.shortest_crop_samples, spec.sample_rate_hz, len(spec.classes), train.not_speech_rows
        )
    if index := worker_index(strategy):
        # All have the same weights now. What the augmentation draws from then on each worker draws for itself: from one seed, all
        # would hear the same conditions at once.
        keras.utils.set_random_seed(worker_seed(seed, index))
    transform = tft.TFTransformOutput(fn_args.transform_graph_path).transform_features_layer()
    # The hosts of a TPU read each its own batches, and this process sees none of them go by.
    clip_ids = ClipIds() if train.strategy != "tpu" else None
    crops = {
        split: draw_crops(names, transform, train.monitor_clips, crop_samples, train.seed, labeller, scratch)
        for split, names in (("train", own_shards(list(train_clips), (0, workers))), ("eval", list(eval_clips)))
        if chief
    }
    not_speech = None
    if train.not_speech_rows:
        count = min(MAX_SOUNDS, sum(train_clips.values()))
        sounds = make_sounds(train.seed, crop_samples + spec.sample_rate_hz, spec.sample_rate_hz, count)
        not_speech = NotSpeech(sounds, train.not_speech_rows)
    with record_cache(train.cache, log_dir) as cache, watched(log_dir, network, spec, crops, chief) as watchers:

        def read_training(shard: tuple[int, int]) -> tf.data.Dataset:
            return training_dataset(
                list(train_clips),
                transform,
                train.batch_size,
                crop_samples,
                worker_seed(seed, shard[0]),
                cache,
                train.deterministic,
                shard=shard,
                endless=True,
                clip_ids=clip_ids,
                min_crop_samples=spec.shortest_crop_samples,
                not_speech=not_speech,
                labeller=labeller,
                scratch=scratch,
            )

        train_data = distribute(strategy, read_training)

        def read_evaluation(shard: tuple[int, int]) -> tf.data.Dataset:
            return evaluation_dataset(eval_clips, transform, plan.eval_batches, shard, scratch)

        eval_data = distribute(strategy, read_evaluation)
        history = fit(
            network, train, train_data, eval_data, len(spec.classes), watchers, plan, checkpoints, clip_ids, clips.check_files
        )
    return Training(network, transform, history)


def fit(
    network: keras.Model,
    train: TrainConfig,
    train_data: tf.data.Dataset,
    eval_data: tf.data.Dataset,
    num_classes: int,
    watchers: Sequence[keras.callbacks.Callback] = (),
    plan: Schedule | None = None,
    checkpoints: str | None = None,
    clip_ids: ClipIds | None = None,
    check: Callable[[], None] | None = None,
) -> keras.callbacks.History:
    """Trains `network`, looked at by `watchers`; `train.early_stopping_patience` says which epoch's weights it is left with.

    Args:
        network: the model, built under the scope of its strategy.
        train: the settings.
        train_data: batches of one replica; see `distribute`.
        eval_data: likewise.
        num_classes: of the labels.
        watchers: callbacks that come behind all others.
        plan: steps of an epoch; without it, whatever the data holds.
        checkpoints: folder to go on from and to save each epoch in.
        clip_ids: what watches `train_data`.
        check: is called after each epoch, before anything of it is kept.

    Raises:
        UserError: the loss diverged.
    """
    strategy = network.distribute_strategy
    replicas = strategy.num_replicas_in_sync
    if train.scale_learning_rate:
        train = train.model_copy(update={"learning_rate": train.learning_rate * replicas})
    compile_model(network, train, num_classes)
    stopping = EarlyStopping(train.early_stopping_patience)
    callbacks = [
        *([keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: check())] if check else []),
        keras.callbacks.LearningRateScheduler(lambda epoch: learning_rate(train, epoch)),
        stopping,
        StopOnDivergence(clip_ids, replicas // num_workers(strategy)),
        *([Backup(checkpoints, stopping)] if checkpoints else []),
        *watchers,
    ]
    return network.fit(
        train_data,
        validation_data=eval_data,
        epochs=train.epochs,
        steps_per_epoch=plan and plan.train_steps,
        validation_steps=plan and plan.eval_steps,
        verbose=0,
        callbacks=callbacks,
    )


def compile_model(network: keras.Model, train: TrainConfig, num_classes: int) -> None:
    """Gives the network its optimizer, loss and metrics, under the scope of its strategy."""

    def loss(label: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        one_hot = tf.one_hot(tf.cast(tf.reshape(label, [-1]), tf.int32), num_classes)
        return keras.losses.categorical_crossentropy(one_hot, probabilities, label_smoothing=train.label_smoothing)

    with network.distribute_strategy.scope():
        network.compile(
            keras.optimizers.AdamW(train.learning_rate, weight_decay=train.weight_decay),
            loss,
            weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
            jit_compile=train.jit_compile,
        )


def learning_rate(train: TrainConfig, epoch: int) -> float:
    """The learning rate of an epoch (from 0): a linear warm-up, then half a cosine towards 0."""
    warmup = max(1, round(WARMUP_SHARE * train.epochs))
    if epoch < warmup:
        return train.learning_rate * (epoch + 1) / (warmup + 1)
    done = (epoch - warmup) / max(1, train.epochs - warmup)
    return train.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def _clips(clips: ClipStore, split: str, workers: int = 1) -> dict[str, int]:
    """Number of clips by shard; at least one for each worker, as `training_dataset` deals them out."""
    counts = clips.shards(split)
    if not counts:
        raise UserError(f"the {split} split holds no clips; set clips.num_clips.{split} to at least 1")
    if len(counts) < workers and max(counts.values()) < workers:
        raise UserError(f"the {split} split has too few clips for {workers} workers; set train.num_workers lower")
    return counts
