# SPDX-License-Identifier: Apache-2.0
"""The article's training, as it describes it: its records, its input pipeline, its network.

Source: "Custom Audio Classification with TensorFlow", Towards Data Science. The text gives the layers and their
order, the last block's global max pool, the pool size (2, 2, 2), two softmax neurons and the loss; its notebooks are not at hand.
Where it names no number, the library's default is taken (kapre's n_fft 2048, hop n_fft / 4, 128 mels), and what has none,
frame length, number of filters and dropout, is our network's, so that width is not what sets them apart.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras as keras
from kapre import Delta, Frame
from kapre.composed import get_melspectrogram_layer

from beam_jobs.examples import Clip
from components.trainer.config import ModelConfig

FEATURES = {
    "sr": tf.io.FixedLenFeature([], tf.int64),
    "len": tf.io.FixedLenFeature([], tf.int64),
    "y": tf.io.FixedLenFeature([], tf.int64),
    "x": tf.io.FixedLenFeature([], tf.string),
}

READ_BUFFER_BYTES = 1000
SHUFFLED_CLIPS = 128
POOL = (2, 2, 2)


def write_records(clips: Iterable[Clip], path: Path) -> None:
    """Writes clips as the article does: a float32 tensor, serialised by TensorFlow."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for clip in clips:
            tensor = tf.io.serialize_tensor(tf.constant(clip.pcm16 / 32768.0, tf.float32)).numpy()
            feature = {
                "sr": _int64(clip.sample_rate_hz),
                "len": _int64(len(clip.pcm16)),
                "y": _int64(clip.label),
                "x": tf.train.Feature(bytes_list=tf.train.BytesList(value=[tensor])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def dataset(files: Sequence[str], num_samples: int, batch_size: int, cache: str = "") -> tf.data.Dataset:
    """Endless batches of whole clips: (float32 [batch, num_samples, 1], int64 [batch]).

    Parsed clips are cached in memory, or in the file `cache`.
    """

    def parse(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = tf.io.parse_single_example(record, FEATURES)
        samples = tf.reshape(tf.io.parse_tensor(example["x"], tf.float32), [example["len"], 1])
        return tf.ensure_shape(samples, [num_samples, 1]), example["y"]

    records = tf.data.TFRecordDataset(list(files), buffer_size=READ_BUFFER_BYTES, num_parallel_reads=tf.data.AUTOTUNE)
    clips = records.map(parse, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE).cache(cache)
    return clips.shuffle(SHUFFLED_CLIPS).batch(batch_size).repeat()


def build_article_model(num_samples: int, sample_rate_hz: int, num_classes: int) -> keras.Model:
    """The article's network: float32 [batch, num_samples, 1] -> float32 [batch, num_classes].

    Mel spectrogram in decibels and its delta as two channels, overlapping frames, and four blocks of convolution,
    batch normalisation, dropout and max pool, the last pool over everything. It needs clips of about 3 s and more.
    """
    config = ModelConfig()
    waveform = keras.Input([num_samples, 1], name="waveform")
    mel = get_melspectrogram_layer(sample_rate=sample_rate_hz, return_decibel=True)(waveform)
    features = keras.layers.Concatenate()([mel, Delta()(mel)])
    features = Frame(config.frame_length, config.frame_length // 2)(features)
    for index, filters in enumerate(config.filters):
        features = keras.layers.Conv3D(filters, 3, padding="same", activation="relu")(features)
        features = keras.layers.BatchNormalization()(features)
        features = keras.layers.Dropout(config.dropout)(features)
        last = index == len(config.filters) - 1
        features = (keras.layers.GlobalMaxPooling3D() if last else keras.layers.MaxPooling3D(POOL))(features)
    probabilities = keras.layers.Dense(num_classes, activation="softmax", dtype="float32")(features)
    return keras.Model(waveform, probabilities, name="article")


def compile_article_model(model: keras.Model) -> None:
    """With the article's loss and metric, and Adam as Keras has it."""
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["sparse_categorical_accuracy"])


def _int64(value: int) -> Any:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
