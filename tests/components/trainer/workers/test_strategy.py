# SPDX-License-Identifier: Apache-2.0
"""One setting for where training runs, going on after a kill, and what stops a training."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from clip_datasets import write_dataset

from beam_jobs.errors import UserError
from beam_jobs.examples import decode_clip, encode_clip, read_records
from components.trainer.checkpoints import Backup, EarlyStopping, finished_epochs
from components.trainer.config import ModelConfig, TrainConfig
from components.trainer.input.batches import _stretch, evaluation_dataset, training_dataset
from components.trainer.input.clip_ids import ClipIds
from components.trainer.network.model import build_model, precision
from components.trainer.run_fn import run_fn
from components.trainer.training import compile_model, learning_rate
from components.trainer.workers.strategy import Schedule, schedule, worker_seed

TRAIN: dict[str, Any] = {"epochs": 6, "batch_size": 8, "crop_s": 1.0, "learning_rate": 1e-2}


def as_is(raw):
    """In place of the preprocessing graph: clips are labelled by their level, which no two share, bit by bit."""
    level = raw["clip/rms_dbfs"]
    label = tf.cast(tf.bitcast(level, tf.int32), tf.int64)
    return {"waveform": level[:, tf.newaxis], "gain": tf.ones_like(level), "label": label}


def levels_of(label) -> np.ndarray:
    return label.numpy().astype(np.int32).view(np.float32)


def levels(dataset) -> list[float]:
    return [float(level) for _, label in dataset for level in levels_of(label)]


# An epoch's plan.


@pytest.mark.parametrize("num_eval", [2, 3, 7, 16, 17, 33])
@pytest.mark.parametrize(("batch_size", "replicas"), [(1, 1), (1, 2), (8, 1), (8, 2), (5, 2)])
def test_each_replica_evaluates_in_as_many_steps_and_all_clips_are_heard(num_eval, batch_size, replicas):
    plan = schedule(40, num_eval, batch_size, replicas)

    assert len(plan.eval_batches) == plan.eval_steps * replicas
    assert sum(plan.eval_batches) == num_eval
    assert min(plan.eval_batches) >= 1
    assert max(plan.eval_batches) <= max(2, batch_size)


def test_an_epoch_is_at_least_one_pass_in_global_batches():
    assert [schedule(num_train, 8, 8, 2).train_steps for num_train in (1, 16, 17)] == [1, 1, 2]


def test_static_shapes_have_one_size():
    assert schedule(40, 17, 4, 2, static_shapes=True) == Schedule(5, 3, (2,) * 6)


def test_workers_draw_from_seeds_of_their_own_and_not_from_those_of_a_training_that_goes_on():
    """A training that goes on after epoch n draws from seed + n, so that worker n must not."""
    seeds = [worker_seed(seed, index) for seed in range(20) for index in range(20)]
    assert len(set(seeds)) == 400
    assert [worker_seed(seed, 0) for seed in (0, 7, 2**31 - 1)] == [0, 7, 2**31 - 1]
    assert all(0 <= worker_seed(2**31 - 1, index) < 2**32 for index in range(20))


def test_fewer_eval_clips_than_replicas_are_refused():
    with pytest.raises(UserError, match=r"the eval split holds 3 clips, fewer than the 4 replicas"):
        schedule(40, 3, 8, 4)


# Each worker's share.


@pytest.mark.parametrize("num_workers", [1, 2, 3, 5])
def test_workers_share_out_the_clips_with_more_shards_than_workers_and_with_fewer(clips, shards, num_workers):
    patterns = [str(shards / "train/*.tfrecord")]

    shares = [
        levels(training_dataset(patterns, as_is, 4, 10, seed=7 + index, shard=(index, num_workers)))
        for index in range(num_workers)
    ]

    assert all(shares)
    heard = sorted(level for share in shares for level in share)
    assert heard == pytest.approx(sorted(clip.rms_dbfs for clip in clips[:32]))


def test_endless_batches_are_full_and_of_one_shape(shards):
    batches = training_dataset([str(shards / "train/*.tfrecord")], as_is, 5, 10, seed=7, endless=True)

    assert batches.element_spec[0].shape[0] == 5
    assert [len(label) for _, label in batches.take(20)] == [5] * 20


def test_replicas_evaluate_every_clip_once(clips, shards):
    files = {str(path): 8 for path in sorted((shards / "eval").glob("*.tfrecord"))}
    sizes = schedule(32, 16, 3, 2).eval_batches

    shares = [levels(evaluation_dataset(files, as_is, sizes, (index, 2))) for index in range(2)]

    assert sorted(shares[0] + shares[1]) == pytest.approx(sorted(clip.rms_dbfs for clip in clips[32:]))


@pytest.mark.parametrize("num_workers", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_each_worker_evaluates_a_stretch_and_opens_no_shard_of_others(clips, tmp_path, num_workers, batch_size):
    dataset = write_dataset(tmp_path / "clips", {"eval": [clips[:4], clips[4:10], clips[10:11], clips[11:16]]})
    files = {str(dataset / "eval" / f"clips-{number:05d}-of-00004.tfrecord"): count for number, count in enumerate((4, 6, 1, 5))}
    sizes = schedule(32, 16, batch_size, num_workers).eval_batches

    heard, opened = [], 0
    for index in range(num_workers):
        batches = evaluation_dataset(files, as_is, sizes, (index, num_workers))
        assert [len(label) for _, label in batches] == list(sizes[index::num_workers])
        heard += levels(batches)
        own = sum(sizes[index::num_workers])
        names, skipped = _stretch(files, len(heard) - own, len(heard))
        opened += len(names)
        assert skipped + own <= sum(files[name] for name in names)

    assert heard == pytest.approx([clip.rms_dbfs for clip in clips[:16]])
    assert opened < len(files) + num_workers  # only neighbours share one


# Where it runs.


def test_no_tpu_is_told_in_one_line(make_fn_args, tmp_path):
    with pytest.raises(UserError, match=r"^train.strategy is tpu, and there is no TPU by the name local.*set TPU_NAME, or"):
        run_fn(make_fn_args(tmp_path, train={**TRAIN, "strategy": "tpu"}))


def test_the_train_step_compiles_to_one_static_program(make_fn_args, tmp_path, shards, transform_graph):
    """As near to a TPU as this machine gets: XLA compiles the real model's step for the real pipeline's shapes."""
    import tensorflow_transform as tft

    keras.utils.set_random_seed(7)
    transform = tft.TFTransformOutput(str(transform_graph)).transform_features_layer()
    config = make_fn_args(tmp_path).custom_config
    data = training_dataset([str(shards / "train/*.tfrecord")], transform, 8, 8000, seed=7, endless=True)
    network = build_model(ModelConfig(**config["model"]), 8000, 8000, 2)
    compile_model(network, TrainConfig(**TRAIN, jit_compile=True), 2)

    assert all(spec.shape.is_fully_defined() for spec in data.element_spec)
    before = [value.copy() for value in network.get_weights()]
    history = network.fit(data, epochs=1, steps_per_epoch=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert any((value != old).any() for value, old in zip(network.get_weights(), before, strict=True))
    step = tf.function(lambda batch: network.train_step(batch), jit_compile=True)
    program = step.experimental_get_compiler_ir(next(iter(data)))(stage="hlo")
    assert 'custom_call_target="xla_python' not in program
    assert "<=" not in re.sub(r"metadata=\{.*?\}", "", program)  # a bound in place of a size: a dynamic shape


MIRRORED = """
import json, sys
from types import SimpleNamespace
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from components.trainer import training
from components.trainer.spec import TrainingSpec
fit = training.fit

def watched_fit(network, *arguments):
    history = fit(network, *arguments)
    rate = float(network.optimizer.learning_rate.numpy())
    losses = [float(loss) for loss in history.history["loss"]]
    print(json.dumps({"replicas": network.distribute_strategy.num_replicas_in_sync, "rate": rate, "loss": losses}))

training.fit = watched_fit
fn_args = SimpleNamespace(**json.loads(sys.argv[1]))
training.train_and_export(fn_args, TrainingSpec.of(fn_args))
"""


@pytest.mark.slow
def test_mirrored_trains_on_all_devices_of_the_machine(make_fn_args, tmp_path):
    train = {**TRAIN, "epochs": 4, "batch_size": 4, "strategy": "mirrored", "scale_learning_rate": True}
    fn_args = make_fn_args(tmp_path, train=train)

    done = subprocess.run(
        [sys.executable, "-c", MIRRORED, json.dumps(vars(fn_args))], capture_output=True, text=True, timeout=500
    )

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["replicas"] == 2
    # The last epoch's rate, of twice the learning rate.
    assert seen["rate"] == pytest.approx(learning_rate(TrainConfig(**{**train, "learning_rate": 2e-2}), 3))
    assert len(seen["loss"]) == 4
    assert seen["loss"][-1] < seen["loss"][0]
    assert (tmp_path / "serving/saved_model.pb").exists()


# Precision.


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_the_front_end_and_the_probabilities_in_float32(model_section, policy):
    with precision(policy):
        network = build_model(ModelConfig(**model_section), 8000, 8000, 2)

    classifier = network.get_layer("classifier")
    computes = {layer.name: layer.compute_dtype for layer in [*network.layers, *classifier.layers]}
    half = policy.removeprefix("mixed_")
    assert computes["block1_conv"] == computes["block4_conv"] == half
    assert {computes[name] for name in ("conditions", "mel", "delta", "speech", "statistics", "logits", "probabilities")} == {
        "float32"
    }
    assert {layer.compute_dtype for layer in network.get_layer("mel_decibels").layers} == {"float32"}
    assert {weight.dtype for weight in network.weights} == {tf.float32}
    assert keras.mixed_precision.global_policy().name == "float32"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"precision": "mixed_float16"}, r"^train.precision mixed_float16 needs a GPU.*take mixed_bfloat16 or float32$"),
        ({"strategy": "mirrored", "jit_compile": True}, r"^train.jit_compile with train.strategy mirrored needs GPUs"),
    ],
)
@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_what_needs_a_gpu_is_refused_without_one(make_fn_args, tmp_path, settings, told):
    with pytest.raises(UserError, match=told):
        run_fn(make_fn_args(tmp_path, train={**TRAIN, **settings}))


@pytest.mark.slow
def test_training_in_mixed_precision_learns(make_fn_args, tmp_path, clips):
    fn_args = make_fn_args(tmp_path, train={**TRAIN, "precision": "mixed_bfloat16"})

    run_fn(fn_args)

    served = tf.saved_model.load(fn_args.serving_model_dir).signatures["serving_default"]
    answers = served(tf.constant([encode_clip(clip) for clip in clips[32:]]))["probabilities"]
    assert answers.dtype == tf.float32
    assert np.mean(answers.numpy().argmax(axis=1) == [clip.label for clip in clips[32:]]) >= 0.9


# Chance.


def test_the_same_seed_gives_the_same_model(trained, make_fn_args, tmp_path):
    run_fn(make_fn_args(tmp_path))

    waveform = tf.random.normal([3, 12000], seed=1)
    first, second = (
        tf.saved_model.load(folder).signatures["waveform"](waveform)["probabilities"].numpy()
        for folder in (trained.serving_model_dir, str(tmp_path / "serving"))
    )
    assert np.array_equal(first, second)


# A loss that is no number.


def test_divergence_names_the_clips_of_the_batch(make_fn_args, tmp_path, shards):
    fn_args = make_fn_args(tmp_path, train={**TRAIN, "learning_rate": 1e30})

    with pytest.raises(UserError) as stopped:
        run_fn(fn_args)

    text = str(stopped.value)
    epoch, step, ids = re.fullmatch(
        r"training diverged: the loss is (?:nan|inf) in epoch (\d+), step (\d+), with the clips (.+); lower train.learning_rate",
        text,
    ).groups()
    # The data are a function of the seed: the same batch again, recognised by what is in it.
    by_level: dict[Any, str] = {}
    for path in (shards / "train").glob("*.tfrecord"):
        with path.open("rb") as file:
            by_level |= {np.float32(clip.rms_dbfs): clip.id for clip in map(decode_clip, read_records(file))}
    keras.utils.set_random_seed(7)
    batches = training_dataset([str(shards / "train/*.tfrecord")], as_is, 8, 10, seed=7, endless=True)
    number = (int(epoch) - 1) * 4 + int(step) - 1
    _, label = list(batches.take(number + 1))[-1]
    assert ids.split(", ") == [by_level[level] for level in levels_of(label)]


def test_watched_batches_are_the_same_and_their_clips_are_known(clips, shards):
    patterns, clip_ids = [str(shards / "train/*.tfrecord")], ClipIds()

    plain = list(training_dataset(patterns, as_is, 8, 10, seed=7))
    watched = list(training_dataset(patterns, as_is, 8, 10, seed=7, clip_ids=clip_ids))

    ids = {np.float32(clip.rms_dbfs): clip.id for clip in clips}
    for number, ((waveform, label), (same, same_label)) in enumerate(zip(plain, watched, strict=True)):
        assert np.array_equal(waveform, same) and np.array_equal(label, same_label)
        assert clip_ids.of(number) == ", ".join(ids[level] for level in levels_of(label))


# Going on.


KILLED = """
import json, sys
from types import SimpleNamespace
from components.trainer.run_fn import run_fn
run_fn(SimpleNamespace(**json.loads(sys.argv[1])))
"""


@pytest.mark.slow
def test_a_killed_training_goes_on_after_its_last_finished_epoch(make_fn_args, tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    fn_args = make_fn_args(tmp_path, train={**TRAIN, "epochs": 20, "early_stopping_patience": 20}, checkpoints=str(folder))
    process = subprocess.Popen([sys.executable, "-c", KILLED, json.dumps(vars(fn_args))], stderr=subprocess.DEVNULL)
    while max((int(path.stem.removeprefix("ckpt-")) for path in folder.glob("chief/ckpt-*.index")), default=0) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done, fn_args.model_run_dir = finished_epochs(str(folder)), str(tmp_path / "resumed")
    assert 2 <= done < 20  # the third checkpoint is there, but may not be finished
    assert not (tmp_path / "serving").exists()

    run_fn(fn_args)

    assert f"training goes on from epoch {done + 1} of 20: {folder}" in capsys.readouterr().err
    (events,) = (tmp_path / "resumed/train").iterdir()
    epochs = [
        event.step
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
        if value.tag == "loss"
    ]
    assert epochs == list(range(done + 1, 20 + 1))
    assert (tmp_path / "serving/saved_model.pb").exists()
    assert not folder.exists()


def small_model() -> keras.Model:
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.layers.Dense(1, input_shape=[3])])
    model.compile(keras.optimizers.AdamW(0.1), "mse")
    return model


class KilledError(Exception):
    pass


class KillAfter(keras.callbacks.Callback):
    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self._epoch:
            raise KilledError


def train_small(folder: Path, patience: int, *others: keras.callbacks.Callback) -> tuple[keras.Model, EarlyStopping, list[float]]:
    """Eight epochs whose eval loss is best after the third: eval wants other weights than training does."""
    x = np.random.default_rng(1).normal(size=[32, 3]).astype(np.float32)
    model, stopping = small_model(), EarlyStopping(patience)
    history = model.fit(
        x,
        x.sum(axis=1),
        validation_data=(x, 0.4 * x.sum(axis=1)),
        batch_size=32,
        shuffle=False,
        epochs=8,
        verbose=0,
        callbacks=[stopping, Backup(str(folder), stopping), *others],
    )
    return model, stopping, history.history.get("loss", [])


@pytest.mark.parametrize("killed_in", [1, 4, 6])
def test_going_on_is_as_if_nothing_had_happened(tmp_path, killed_in):
    model, stopping, loss = train_small(tmp_path / "whole", 20)
    with pytest.raises(KilledError):
        train_small(tmp_path / "killed", 20, KillAfter(killed_in))

    assert finished_epochs(str(tmp_path / "killed")) == killed_in + 1
    again, stopping_again, rest = train_small(tmp_path / "killed", 20)

    assert rest == pytest.approx(loss[killed_in + 1 :])
    assert (stopping_again.best_epoch, stopping_again.wait) == (stopping.best_epoch, stopping.wait)
    assert stopping_again.best == pytest.approx(stopping.best)
    for ours, theirs in zip(stopping_again.best_weights, stopping.best_weights, strict=True):
        assert ours == pytest.approx(theirs)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        assert ours == pytest.approx(theirs)


def test_the_weights_of_the_best_epoch_are_kept_also_where_training_ran_to_its_end(tmp_path):
    model, stopping, loss = train_small(tmp_path, 20)

    assert len(loss) == 8 and stopping.best_epoch < 7
    for ours, best in zip(model.get_weights(), stopping.best_weights, strict=True):
        assert np.array_equal(ours, best)


def test_a_training_that_had_stopped_early_does_not_start_again(tmp_path):
    model, _, loss = train_small(tmp_path, 2)
    assert 2 < len(loss) < 8

    again, _, rest = train_small(tmp_path, 2)

    assert rest == []
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


def test_nothing_is_finished_where_there_is_no_checkpoint(tmp_path):
    assert finished_epochs(str(tmp_path / "none")) == 0
