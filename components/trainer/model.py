"""The network: raw waveform in, class probabilities out."""

from typing import Any

import tensorflow as tf
import tf_keras as keras
from kapre import Frame

from components.trainer.config import ModelConfig
from components.trainer.front_end import check_input, mel_and_delta

POOLS = ((1, 4, 2), (1, 2, 2), (1, 2, 2))


class MaskedAverage(keras.layers.Layer):
    """Global average pool over time and frequency, over the frames of speech alone.

    Takes (float32 [batch, frames, time, mel, channels], weight float32 [batch, frames, time, 1, 1]); returns
    float32 [batch, channels].
    """

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Weighs the mean by the share of speech in each cell."""
        features, weight = inputs
        total = tf.reduce_sum(tf.reduce_mean(features * weight, axis=3), axis=[1, 2])
        return total / (tf.reduce_sum(weight, axis=[1, 2, 3]) + 1e-6)


def build_model(model: ModelConfig, num_samples: int, sample_rate_hz: int, num_classes: int) -> keras.Model:
    """Builds the network: kapre mel and delta, Frame, four Conv3D blocks, global average pool, softmax.

    The model takes float32 [batch, samples] of any length from two STFT frames on and returns float32
    [batch, num_classes]; `num_samples` is the length of the shortest input that it will meet.

    Raises:
        UserError: that input is shorter than two STFT frames, or the mel bands reach above the Nyquist frequency.
    """
    check_input(model, num_samples, sample_rate_hz)
    waveform = keras.Input([None], name="waveform")
    features, mask = mel_and_delta(model, waveform, sample_rate_hz)
    frame = {
        "frame_length": model.frame_length,
        "hop_length": model.frame_length,
        "pad_end": True,
        "data_format": "channels_last",
    }
    features = Frame(**frame, name="frame")(features)
    weight = Frame(**frame, name="frame_mask")(mask)
    for index, filters in enumerate(model.filters):
        features = _convolve(features, filters, model.dropout, f"block{index + 1}")
        if index < len(POOLS):
            features = keras.layers.MaxPool3D(POOLS[index], name=f"block{index + 1}_pool")(features)
            time_pool = (1, POOLS[index][1], 1)
            weight = keras.layers.AveragePooling3D(time_pool, name=f"block{index + 1}_mask")(weight)
    pooled = MaskedAverage(name="block4_pool")([features, weight])
    probabilities = keras.layers.Dense(num_classes, activation="softmax", dtype="float32", name="probabilities")(pooled)
    return keras.Model(waveform, probabilities, name="conv3d")


def _convolve(features: Any, filters: int, dropout: float, name: str) -> Any:
    kernel = (1, 3, 3) if name == "block1" else (3, 3, 3)
    features = keras.layers.Conv3D(filters, kernel, padding="same", use_bias=False, name=f"{name}_conv")(features)
    features = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(features)
    features = keras.layers.ReLU(name=f"{name}_relu")(features)
    # Whole channels are dropped: the maximum over single kept values, scaled up by 1 / (1 - dropout), would be larger in
    # training than in use, and the batch norms behind it would hold the wrong means.
    return keras.layers.SpatialDropout3D(dropout, name=f"{name}_dropout")(features)
