# SPDX-License-Identifier: Apache-2.0
"""With a class `mixed`, a crop is labelled by who speaks in it, and the model's pooling is fitted to the eval clips."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from clip_datasets import write_dataset
from hypothesis import given
from hypothesis import strategies as st
from training_inputs import voice

from beam_jobs.examples import LABEL as LABEL_FEATURE
from beam_jobs.examples import RMS_DBFS, Clip, Segment, decode_clip, encode_clip, frame_record, read_records
from components.trainer.input.batches import training_dataset
from components.trainer.input.heard import CropLabeller, Segments
from components.trainer.network.pooling import DEFAULT_FIT
from components.trainer.network.pooling_fit import fit_pooling
from components.trainer.run_fn import run_fn
from components.transform.preprocessing import GAIN, LABEL

RATE_HZ = 1000
CLASSES = ["male", "female", "mixed"]
MALE, FEMALE, MIXED = range(3)
LABELLER = CropLabeller(MIXED, RATE_HZ)

SEQUENTIAL = (Segment(MALE, 0.0, 2.0), Segment(FEMALE, 3.0, 5.0))
TOGETHER = (Segment(MALE, 0.0, 4.0), Segment(FEMALE, 0.0, 2.0))


def label_of(segments: tuple[Segment, ...], start_s: float, length_s: float, label: int = MIXED, padding: int = 0) -> int:
    rows = [*segments, *[Segment(-1, 0.0, 0.0)] * padding]
    columns = Segments(*(tf.constant([[row[k] for row in rows]], (tf.int64, tf.float32, tf.float32)[k]) for k in range(3)))
    start = tf.constant([round(start_s * RATE_HZ)])
    return int(LABELLER(tf.constant([label], tf.int64), columns, start, round(length_s * RATE_HZ))[0])


@pytest.mark.parametrize(
    ("segments", "start_s", "length_s", "label"),
    [
        (SEQUENTIAL, 0.0, 2.0, MALE),
        (SEQUENTIAL, 0.0, 3.0, MALE),
        (SEQUENTIAL, 0.0, 3.2, MALE),  # 0.2 s of her are not heard
        (SEQUENTIAL, 0.0, 3.4, MIXED),
        (SEQUENTIAL, 1.8, 2.0, FEMALE),
        (SEQUENTIAL, 1.0, 3.0, MIXED),
        (SEQUENTIAL, 3.5, 1.0, FEMALE),
        (TOGETHER, 0.0, 1.0, MIXED),
        (TOGETHER, 2.0, 2.0, MALE),
        (TOGETHER, 1.8, 2.0, MALE),
        ((Segment(FEMALE, 0.0, 0.2), Segment(FEMALE, 0.3, 0.5)), 0.0, 1.0, FEMALE),  # 0.4 s in all
        (SEQUENTIAL, 2.1, 0.8, MIXED),  # a pause, and the clip's label
    ],
)
def test_a_crop_is_labelled_by_the_voices_in_it(segments, start_s, length_s, label):
    assert label_of(segments, start_s, length_s) == label
    assert label_of(segments[::-1], start_s, length_s, padding=2) == label


@given(st.sampled_from([MALE, FEMALE]), st.floats(0, 8), st.floats(0.1, 4), st.lists(st.tuples(st.floats(0, 8), st.floats(0, 4))))
def test_a_crop_of_a_single_class_has_its_clips_label(label, start_s, length_s, times):
    segments = tuple(Segment(label, begin, begin + duration) for begin, duration in times)

    assert label_of(segments or (Segment(-1, 0.0, 0.0),), start_s, length_s, label) == label


def test_without_mixed_nothing_is_labelled_anew():
    assert CropLabeller.of(["male", "female"], RATE_HZ) is None
    assert CropLabeller.of(CLASSES, RATE_HZ) == LABELLER


def clip_of(number: int, segments: tuple[Segment, ...]) -> Clip:
    """A clip of 6 s in which a man is 100 and a woman 200, added up."""
    time = np.arange(6 * RATE_HZ) / RATE_HZ
    samples = np.sum([(1 + s.label) * 100 * ((time >= s.start_s) & (time < s.end_s)) for s in segments], axis=0)
    labels = {segment.label for segment in segments}
    label = MIXED if len(labels) > 1 else labels.pop()
    names = tuple(f"{number}-{k}" for k in range(len(segments)))
    return Clip(f"train-{number}", label, "sequential", names, names, -20.0, 1.0, RATE_HZ, samples.astype("<i2"), segments)


def decode(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {GAIN: tf.ones_like(features[RMS_DBFS]), LABEL: features[LABEL_FEATURE]}


@pytest.mark.parametrize("min_crop_samples", [None, 700])
def test_the_label_of_each_crop_is_what_can_be_read_off_its_samples(min_crop_samples, tmp_path):
    clips = [clip_of(k, (SEQUENTIAL, TOGETHER, SEQUENTIAL[:1], SEQUENTIAL[1:])[k % 4]) for k in range(32)]
    (tmp_path / "clips").write_bytes(b"".join(part for clip in clips for part in frame_record(encode_clip(clip))))
    dataset = training_dataset([f"{tmp_path}/*"], decode, 8, 1500, seed=1, min_crop_samples=min_crop_samples, labeller=LABELLER)

    seen = []
    for _ in range(6):
        for crops, labels in dataset.as_numpy_iterator():
            for crop, label in zip(crops, labels, strict=True):
                heard = {name for name, bit in ((MALE, 100), (FEMALE, 200)) if np.isin(crop, [bit, 300]).sum() >= 0.3 * RATE_HZ}
                if heard:
                    assert label == (MIXED if len(heard) == 2 else heard.pop())
                    seen.append(int(label))
    assert all(count > 20 for count in np.bincount(seen, minlength=3))


@pytest.fixture
def make_mixed_args(make_fn_args: Callable, shards: Path, tmp_path: Path) -> Callable:
    """A function that makes `run_fn`'s arguments for three classes, with the clips that `change` makes of the shards'."""

    def make(change: Callable[[Clip], Clip]):
        splits: dict[str, list[list[Clip]]] = {"train": [], "eval": []}
        for path in sorted(shards.rglob("*.tfrecord")):
            splits[path.parent.name].append([change(decode_clip(record)) for record in read_records(path.open("rb"))])
        train = {"epochs": 1, "batch_size": 8, "crop_s": 1.0}
        dataset = write_dataset(tmp_path / "clips", splits, CLASSES)
        return make_fn_args(tmp_path, train=train, classes=CLASSES, dataset=dataset)

    return make


@pytest.mark.slow
def test_a_model_with_mixed_is_trained_and_answers(make_mixed_args, tmp_path):
    def say_when(clip: Clip) -> Clip:
        return replace(clip, segments=(Segment(clip.label, 0.0, 1.1),))

    run_fn(make_mixed_args(say_when))

    answer = tf.saved_model.load(str(tmp_path / "serving")).signatures["waveform"]
    man, woman, silence = voice(0, 1), voice(1, 2), np.zeros(40_000, np.float32)
    alone = answer(waveform=tf.constant(np.concatenate([man, woman])[np.newaxis]))
    longer = answer(waveform=tf.constant(np.concatenate([silence, man, silence, woman, silence])[np.newaxis]))
    assert alone["classes"].numpy()[0].tolist() == [b"male", b"female", b"mixed"]
    assert alone["speech"].numpy() > 0
    assert alone["probabilities"].numpy().sum() == pytest.approx(1, abs=1e-5)
    assert longer["probabilities"].numpy() == pytest.approx(alone["probabilities"].numpy(), abs=0.02)


def test_the_exported_model_answers_with_what_was_fitted_to_the_eval_clips(make_mixed_args, tmp_path):
    def mix_some(clip: Clip) -> Clip:
        segments = (Segment(clip.label, 0.0, 1.1), Segment(1 - clip.label, 0.0, 1.1))
        mixed = int(clip.utterance_ids[0].split("-")[0]) % 5 == 0
        return replace(clip, label=MIXED, segments=segments) if mixed else replace(clip, segments=segments[:1])

    arguments = make_mixed_args(mix_some)
    run_fn(arguments)

    (line,) = re.findall(
        "mixed: presence scale (.*), bias (.*), fitted to (.*) eval clips", (tmp_path / "logs/training.log").read_text()
    )
    scale, bias, clips = float(line[0]), float(line[1]), int(line[2])
    records = [record for path in sorted(tmp_path.glob("clips/eval/*.tfrecord")) for record in read_records(path.open("rb"))]
    answer = tf.saved_model.load(str(tmp_path / "serving")).signatures["serving_default"](tf.constant(records))
    with_speech = answer["speech"].numpy() > 0
    male, female, mixed = answer["probabilities"].numpy()[with_speech].astype(float).T
    log_odds = np.log(np.stack([mixed / female, mixed / male], axis=1))
    labels = np.array([decode_clip(record).label for record in records])[with_speech]
    assert clips == with_speech.sum() > 8
    assert (scale, bias) != pytest.approx(DEFAULT_FIT, abs=0.1)
    # What the answers were made of gives the same fit again, but for the two digits of the line.
    assert fit_pooling((log_odds - bias) / scale, labels) == pytest.approx((scale, bias), abs=0.03)
