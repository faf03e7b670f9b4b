# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from clip_datasets import framed, write_dataset

from beam_jobs.errors import UserError
from beam_jobs.examples import encode_clip
from components.trainer.config import TrainConfig
from components.trainer.run_fn import run_fn
from components.trainer.training import learning_rate


def test_training_learns_the_pitch(trained, clips):
    served = tf.saved_model.load(trained.serving_model_dir).signatures["serving_default"]

    answers = served(tf.constant([encode_clip(clip) for clip in clips[32:]]))["probabilities"].numpy()

    assert np.mean(answers.argmax(axis=1) == [clip.label for clip in clips[32:]]) >= 0.9


def test_training_leaves_tensorboard_logs(trained):
    events = list(Path(trained.model_run_dir).rglob("events.out.tfevents.*"))

    assert {path.parent.name for path in events} == {"train", "eval"}


def test_a_crop_longer_than_the_clips_is_refused(make_fn_args, tmp_path):
    with pytest.raises(UserError, match=r"crop_s 6 is longer than a clip of 1.5 s"):
        run_fn(make_fn_args(tmp_path, train={"crop_s": 6.0}))


def test_a_crop_shorter_than_a_frame_is_refused(make_fn_args, tmp_path):
    with pytest.raises(UserError, match="two STFT frames take"):
        run_fn(make_fn_args(tmp_path, train={"crop_s": 0.01}))


def test_an_empty_split_is_refused(make_fn_args, clips, tmp_path):
    dataset = write_dataset(tmp_path / "clips", {"train": [clips], "eval": [[]]})
    with pytest.raises(UserError, match="the eval split holds no clips"):
        run_fn(make_fn_args(tmp_path, dataset=dataset))


def test_clips_that_were_changed_since_they_were_checked_are_refused(make_fn_args, clips, tmp_path):
    dataset = write_dataset(tmp_path / "clips", {"train": [clips], "eval": [clips[:8]]})
    fn_args = make_fn_args(tmp_path, dataset=dataset)
    (shard,) = dataset.glob("train/*.tfrecord")
    shard.write_bytes(framed(clips[::-1])[0])
    with pytest.raises(UserError, match=r"clips: the dataset was changed since it was checked; start the run again"):
        run_fn(fn_args)


def test_divergence_stops_with_a_word_to_the_user(make_fn_args, tmp_path):
    fn_args = make_fn_args(tmp_path, train={"epochs": 2, "batch_size": 8, "crop_s": 1.0, "learning_rate": 1e30})

    with pytest.raises(UserError, match=r"training diverged.*lower train.learning_rate"):
        run_fn(fn_args)

    assert not Path(fn_args.serving_model_dir).exists()


def test_the_learning_rate_warms_up_and_falls():
    train = TrainConfig(epochs=20, learning_rate=1.0)

    rates = [learning_rate(train, epoch) for epoch in range(20)]

    assert rates[0] < rates[2] == max(rates) == 1.0
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.05


def test_importing_the_trainer_starts_no_threads_of_tensorflow():
    """A process that has them cannot fork any more: its children wait for ever for threads that they do not have."""
    code = (
        "import components.trainer.run_fn, components.tuner.tuner_fn, components.evaluator.executor\n"
        "from tensorflow.python.eager import context\n"
        "assert context.context()._context_handle is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3], timeout=300)
