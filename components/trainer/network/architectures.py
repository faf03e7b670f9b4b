"""The networks behind the front end: standardised mel and delta in, one embedding of the whole clip out.

Each takes features float32 [batch, time, mel, 2] and a mask float32 [batch, time, 1, 1] of any length of time, and returns
[batch, channels]: features averaged over the stretches that hold sound.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras as keras
from kapre import Frame

from components.trainer.config import ModelConfig

POOLS = ((4, 2), (2, 2), (2, 2))
"""Of the first three blocks: time, mel."""


class MaskedAverage(keras.layers.Layer):
    """Global average pool over time and frequency, over the frames of speech alone.

    Takes (float32 [batch, ..., time, mel, channels], weight float32 [batch, ..., time, 1, 1]); returns
    float32 [batch, channels].
    """

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Weighs the mean by the share of speech in each cell."""
        features, weight = inputs
        time_axes = list(range(1, features.shape.rank - 2))
        total = tf.reduce_sum(tf.reduce_mean(features * weight, axis=-2), axis=time_axes)
        return total / (tf.reduce_sum(weight, axis=[*time_axes, -2]) + 1e-6)


def conv3d(model: ModelConfig, features: Any, mask: Any) -> Any:
    """The article's design: time cut into frames, and four Conv3D blocks over frame, time and mel."""
    frame = {
        "frame_length": model.frame_length,
        "hop_length": model.frame_length,
        "pad_end": True,
        "data_format": "channels_last",
    }
    features = Frame(**frame, name="frame")(features)
    weight = Frame(**frame, name="frame_mask")(mask)
    for index, filters in enumerate(model.filters):
        kernel = (1, 3, 3) if index == 0 else (3, 3, 3)
        pool = None
        if index < len(POOLS):
            time, mel = POOLS[index]
            pool = keras.layers.MaxPool3D((1, time, mel), name=f"block{index + 1}_pool")
            weight = keras.layers.AveragePooling3D((1, time, 1), name=f"block{index + 1}_mask")(weight)
        features = _convolve(features, filters, kernel, model.dropout, f"block{index + 1}", pool)
    return _average(features, weight, "block4_pool")


def cnn2d(model: ModelConfig, features: Any, mask: Any) -> Any:
    """The same blocks and pools without frames: Conv2D over the whole of time and mel."""
    features, weight = _pooled_blocks(model, features, mask)
    features = _convolve(features, model.filters[3], (3, 3), model.dropout, "block4")
    return _average(features, weight, "block4_pool")


def crnn(model: ModelConfig, features: Any, mask: Any) -> Any:
    """Three Conv2D blocks, then an LSTM over time; its outputs are averaged.

    The blocks pool 16 STFT frames into one step (0.37 s at the defaults), so that 60 s are 162 steps of the LSTM. Steps
    without any sound leave its state as it is.
    """
    features, weight = _pooled_blocks(model, features, mask)
    steps = keras.layers.Reshape([-1, features.shape[2] * features.shape[3]], name="steps")(features)
    # Not keras.layers.LSTM, which traces a cuDNN twin of the loop: cuDNN cannot skip steps in the middle.
    lstm = keras.layers.RNN(keras.layers.LSTMCell(model.filters[3]), return_sequences=True, name="lstm")
    outputs = lstm(steps, mask=weight[:, :, 0, 0] > 0)
    outputs = keras.layers.Dropout(model.dropout, name="lstm_dropout")(outputs)
    return _average(outputs[:, :, tf.newaxis], weight, "lstm_pool")


ARCHITECTURES: dict[str, Callable[[ModelConfig, Any, Any], Any]] = {
    "conv3d": conv3d,
    "cnn2d": cnn2d,
    "crnn": crnn,
    "prototype": conv3d,
}
"""By `model.architecture`; `prototype` differs by its head."""


def _pooled_blocks(model: ModelConfig, features: Any, mask: Any) -> tuple[Any, Any]:
    for index, pool in enumerate(POOLS):
        # A last cell that is not full counts as well, or a clip of few frames would have no cell at all.
        max_pool = keras.layers.MaxPool2D(pool, padding="same", name=f"block{index + 1}_pool")
        features = _convolve(features, model.filters[index], (3, 3), model.dropout, f"block{index + 1}", max_pool)
        mask = keras.layers.AveragePooling2D((pool[0], 1), padding="same", name=f"block{index + 1}_mask")(mask)
    return features, mask


def _convolve(features: Any, filters: int, kernel: tuple[int, ...], dropout: float, name: str, pool: Any = None) -> Any:
    three = len(kernel) == 3
    convolution = keras.layers.Conv3D if three else keras.layers.Conv2D
    features = convolution(filters, kernel, padding="same", use_bias=False, name=f"{name}_conv")(features)
    normalise = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")
    if three:
        # Frames count as clips: the same figures, and on a CPU five times as fast, because oneDNN knows four dimensions.
        frames = normalise(tf.reshape(features, [-1, *features.shape[2:]]))
        features = tf.reshape(frames, tf.shape(features))
    else:
        features = normalise(features)
    # Before the ReLU and the dropout of whole channels, which change no maximum's place: what they work on is smaller.
    if pool is not None:
        features = pool(features)
    features = keras.layers.ReLU(name=f"{name}_relu")(features)
    # Whole channels are dropped: the maximum over single kept values, scaled up by 1 / (1 - dropout), would be larger in
    # training than in use, and the batch norms behind it would hold the wrong means.
    spatial_dropout = keras.layers.SpatialDropout3D if three else keras.layers.SpatialDropout2D
    return spatial_dropout(dropout, name=f"{name}_dropout")(features)


def _average(features: Any, weight: Any, name: str) -> Any:
    # Hundreds of cells are summed, which the eight bits of a bfloat16 cannot hold.
    return MaskedAverage(dtype="float32", name=name)([features, weight])
