# SPDX-License-Identifier: Apache-2.0
"""The networks behind the front end: standardised mel and delta in, a row of embeddings out, one for each cell of time.

Each takes features float32 [batch, time, mel, 2] of any length of time and returns [batch, cells, channels], where a cell is
`CELL` STFT frames and the last may not be full. The cells keep the mel axis, flattened into their channels: a formant is a place
on it, which an average over the bands would throw away.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras as keras
from kapre import Frame

from components.trainer.config import CELL, ModelConfig

STRIDES = (2, 2, 2, 1)
"""Of the four blocks, in time and mel alike. Strides cost a quarter of pools, which would compute what they throw away."""


def conv3d(model: ModelConfig, features: Any) -> Any:
    """The article's design: time cut into frames, and four Conv3D blocks over frame, time and mel."""
    time = tf.shape(features)[1]
    frame = {"frame_length": model.frame_length, "hop_length": model.frame_length, "pad_end": True}
    features = Frame(**frame, data_format="channels_last", name="frame")(features)
    for index, filters in enumerate(model.filters):
        # Only the last looks across frames.
        kernel = (3, 3, 3) if index == 3 else (1, 3, 3)
        features = _block3d(features, filters, kernel, STRIDES[index], f"block{index + 1}")
    cells = tf.reshape(features, [-1, tf.shape(features)[1] * features.shape[2], features.shape[3] * features.shape[4]])
    return cells[:, : (time + CELL - 1) // CELL]


def cnn2d(model: ModelConfig, features: Any) -> Any:
    """The same blocks without frames: Conv2D over the whole of time and mel."""
    for index, filters in enumerate(model.filters):
        features = _block2d(features, filters, STRIDES[index], f"block{index + 1}")
    return keras.layers.Reshape([-1, features.shape[2] * features.shape[3]], name="cells")(features)


def crnn(model: ModelConfig, features: Any) -> Any:
    """Three of those blocks, then an LSTM that goes over the cells."""
    for index, filters in enumerate(model.filters[:3]):
        features = _block2d(features, filters, STRIDES[index], f"block{index + 1}")
    cells = keras.layers.Reshape([-1, features.shape[2] * features.shape[3]], name="cells")(features)
    return keras.layers.LSTM(model.filters[3], return_sequences=True, name="lstm")(cells)


ARCHITECTURES: dict[str, Callable[[ModelConfig, Any], Any]] = {
    "conv3d": conv3d,
    "cnn2d": cnn2d,
    "crnn": crnn,
    "prototype": conv3d,
}
"""By `model.architecture`; `prototype` differs by its head."""


def _block2d(features: Any, filters: int, stride: int, name: str) -> Any:
    features = keras.layers.Conv2D(filters, 3, stride, padding="same", use_bias=False, name=f"{name}_conv")(features)
    features = keras.layers.BatchNormalization(momentum=0.95, name=f"{name}_norm")(features)
    return keras.layers.ReLU(name=f"{name}_relu")(features)


def _block3d(features: Any, filters: int, kernel: tuple[int, int, int], stride: int, name: str) -> Any:
    convolution = keras.layers.Conv3D(filters, kernel, (1, stride, stride), padding="same", use_bias=False, name=f"{name}_conv")
    features = convolution(features)
    # Frames count as clips: the same figures, and on a CPU five times as fast, because oneDNN knows four dimensions.
    frames = tf.reshape(features, [-1, *features.shape[2:]])
    frames = keras.layers.BatchNormalization(momentum=0.95, name=f"{name}_norm")(frames)
    frames = keras.layers.ReLU(name=f"{name}_relu")(frames)
    return tf.reshape(frames, tf.shape(features))
