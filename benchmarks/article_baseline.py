# SPDX-License-Identifier: Apache-2.0
"""(a) The article's way, written plainly: pydub → WAV on disk → librosa → float32 tensor → TFRecord.

Every utterance is decoded whole (pydub starts ffmpeg for each FLAC), made louder or softer and cut, and overlaid on 60 s of
silence at 22,050 Hz; the WAV that this gives is exported, loaded again, and written as the article's tf.Example.
"""

from pathlib import Path

import librosa
import tensorflow as tf
from pydub import AudioSegment

from beam_jobs.planning import ClipPlan

SAMPLE_RATE_HZ = 22050
DURATION_MS = 60_000


def make_clips(plans: list[ClipPlan], root: str, output: Path) -> None:
    """Renders the plans into WAV files and one TFRecord file in `output`."""
    output.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(output / "clips.tfrecord")) as writer:
        for plan in plans:
            wav = output / f"{plan.id}.wav"
            _mix(plan, root).export(wav, format="wav").close()
            writer.write(_example(wav, plan.label).SerializeToString())


def _mix(plan: ClipPlan, root: str) -> AudioSegment:
    clip = AudioSegment.silent(DURATION_MS, frame_rate=SAMPLE_RATE_HZ)
    for placement in plan.placements:
        rate = placement.utterance.sample_rate_hz
        speech = AudioSegment.from_file(Path(root) / placement.utterance.path)
        start_ms, length_ms = placement.offset * 1000 / rate, placement.num_samples * 1000 / rate
        speech = speech.apply_gain(placement.gain_db)[start_ms : start_ms + length_ms]
        clip = clip.overlay(speech, position=placement.start * 1000 / SAMPLE_RATE_HZ)
    return clip


def _example(wav: Path, label: int) -> tf.train.Example:
    samples, sample_rate_hz = librosa.load(wav, sr=SAMPLE_RATE_HZ)
    tensor = tf.convert_to_tensor(samples, tf.float32)
    feature = {
        "sr": _int64(sample_rate_hz),
        "len": _int64(len(samples)),
        "y": _int64(label),
        "x": tf.train.Feature(bytes_list=tf.train.BytesList(value=[tf.io.serialize_tensor(tensor).numpy()])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature))


def _int64(value: float) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))
