# SPDX-License-Identifier: Apache-2.0
"""What travels with a model: measures of its clips, and a recording by which a server can be checked."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from beam_jobs.examples import Clip, decode_clip
from components.model_digest import model_digest
from components.trainer.reference import HELD_OUT_CLIPS, TRAIN_CLIPS
from components.watch.measured import measured_answers
from components.watch.records import CANARY, HELD_OUT, REFERENCE_FILE, TRAIN, Record, read_reference
from components.watch.skew import canary_record


@pytest.fixture(scope="module")
def model(trained: SimpleNamespace) -> Path:
    return Path(trained.serving_model_dir)


@pytest.fixture(scope="module")
def reference(model: Path) -> list[Record]:
    return read_reference(model)


def clips_of(split: Path) -> dict[str, Clip]:
    names = sorted(map(str, split.glob("*.tfrecord")))
    return {clip.id: clip for clip in map(decode_clip, tf.data.TFRecordDataset(names).as_numpy_iterator())}


def test_it_holds_clips_of_both_splits_with_their_labels(reference: list[Record], shards: Path) -> None:
    for split, folder, most in ((HELD_OUT, "eval", HELD_OUT_CLIPS), (TRAIN, "train", TRAIN_CLIPS)):
        clips = clips_of(shards / folder)
        found = {record.name: record for record in reference if record.path == split}
        assert len(found) == min(most, len(clips)) and found.keys() <= clips.keys()
        for name, record in found.items():
            samples = clips[name].pcm16 / 32768
            assert record.truth == clips[name].label and not record.audio
            assert record.duration_s == pytest.approx(len(samples) / clips[name].sample_rate_hz)
            if record.measured:
                assert record.level_dbfs == pytest.approx(20 * np.log10(np.sqrt(np.mean(samples**2))), abs=0.05)


def test_it_is_part_of_the_models_digest(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    assert model_digest(copy) == model_digest(model)
    content = bytearray((copy / REFERENCE_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / REFERENCE_FILE).write_bytes(content)
    assert model_digest(copy) != model_digest(model)


def test_the_exported_model_hears_the_canary_as_the_training_did(model: Path, reference: list[Record], tmp_path: Path) -> None:
    measured = tf.saved_model.load(str(model)).signatures["measured"]
    found = canary_record(model, measured)
    (expected,) = [record for record in reference if record.path == CANARY]

    assert found and found[1] < 1e-5 and expected.measured
    path = tmp_path / "canary.wav"
    path.write_bytes(expected.audio)
    samples, rate_hz = soundfile.read(path)
    quieter = tmp_path / "quieter.wav"
    soundfile.write(quieter, samples * 0.5, rate_hz, subtype="PCM_16")  # another recording of the same is seen
    (answer,) = measured_answers(measured(wav=tf.constant([quieter.read_bytes()])))
    assert np.abs(answer["mel"] - expected.mel).max() > 1e-5
