"""The network: raw waveform in, class probabilities out."""

from typing import Any

import tensorflow as tf
import tf_keras as keras
from kapre import Delta, Frame
from kapre.composed import get_melspectrogram_layer

from beam_jobs.errors import UserError
from components.trainer.config import ModelConfig
from components.trainer.strategy import precision

DYNAMIC_RANGE_DB = 40.0
"""In kapre's decibels, 10 log10 of a magnitude: 80 dB of power below the loudest point of a clip."""

SPEECH_RANGE_DB = 20.0
"""A frame this far below the loudest frame (again of magnitude: 40 dB of power) is taken for silence."""

POOLS = ((1, 4, 2), (1, 2, 2), (1, 2, 2))


class SpeechMask(keras.layers.Layer):
    """Marks the frames that hold sound, so that pauses and the silence after the last voice weigh nothing.

    float32 [batch, time, mel, 1] of decibels -> float32 [batch, time, 1, 1] of 0 and 1. Total silence is all 1.
    """

    def call(self, decibels: tf.Tensor) -> tf.Tensor:
        """Compares each frame's loudest band with the clip's."""
        level = tf.reduce_max(decibels, axis=2, keepdims=True)
        return tf.cast(level >= tf.reduce_max(level, axis=1, keepdims=True) - SPEECH_RANGE_DB, tf.float32)


class Standardize(keras.layers.Layer):
    """Standardises clip by clip over the frames of speech; silent frames become 0, the mean.

    Takes (float32 [batch, time, mel, 1], mask float32 [batch, time, 1, 1]); returns the shape of the first.
    """

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Weighs mean and variance by the mask."""
        features, mask = inputs
        mean, variance = tf.nn.weighted_moments(features, axes=[1, 2], frequency_weights=mask, keepdims=True)
        return mask * (features - mean) * tf.math.rsqrt(variance + 1e-3)


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
    _check(model, num_samples, sample_rate_hz)
    waveform = keras.Input([None], name="waveform")
    with precision("float32"):  # sums over long windows, and small differences of large decibels
        decibels = _mel_decibels(model, sample_rate_hz)(waveform[:, :, tf.newaxis])
        mask = SpeechMask(name="speech_mask")(decibels)
        mel = Standardize(name="mel")([decibels, mask])
        delta = Standardize(name="delta")([Delta(name="mel_delta", data_format="channels_last")(mel), mask])
    frame = {
        "frame_length": model.frame_length,
        "hop_length": model.frame_length,
        "pad_end": True,
        "data_format": "channels_last",
    }
    features = Frame(**frame, name="frame")(tf.concat([mel, delta], axis=-1))
    weight = Frame(**frame, name="frame_mask")(mask)
    for index, filters in enumerate(model.filters):
        features = _convolve(features, filters, model.dropout, f"block{index + 1}")
        if index < len(POOLS):
            features = keras.layers.MaxPool3D(POOLS[index], name=f"block{index + 1}_pool")(features)
            time_pool = (1, POOLS[index][1], 1)
            weight = keras.layers.AveragePooling3D(time_pool, name=f"block{index + 1}_mask")(weight)
    # Hundreds of cells are summed, which the eight bits of a bfloat16 cannot hold.
    pooled = MaskedAverage(dtype="float32", name="block4_pool")([features, weight])
    probabilities = keras.layers.Dense(num_classes, activation="softmax", dtype="float32", name="probabilities")(pooled)
    return keras.Model(waveform, probabilities, name="conv3d")


def _check(model: ModelConfig, num_samples: int, sample_rate_hz: int) -> None:
    if num_samples < model.n_fft:
        raise UserError(
            f"a clip or crop of {num_samples} samples is shorter than one STFT frame: model.n_fft is {model.n_fft}; "
            "make the clips longer or n_fft smaller"
        )
    # kapre's Delta mirrors two frames at either end.
    if num_samples < model.n_fft + model.hop_length:
        raise UserError(
            f"a clip or crop of {num_samples} samples holds one STFT frame, and a delta needs two: at least n_fft + "
            f"hop_length = {model.n_fft + model.hop_length} samples; make the clips longer or n_fft smaller"
        )
    if model.mel_f_max_hz > sample_rate_hz / 2:
        raise UserError(
            f"model.mel_f_max_hz is {model.mel_f_max_hz:g}, and audio at {sample_rate_hz} Hz ends at {sample_rate_hz / 2:g} Hz"
        )


def _mel_decibels(model: ModelConfig, sample_rate_hz: int) -> Any:
    return get_melspectrogram_layer(
        n_fft=model.n_fft,
        hop_length=model.hop_length,
        sample_rate=sample_rate_hz,
        n_mels=model.n_mels,
        mel_f_min=model.mel_f_min_hz,
        mel_f_max=model.mel_f_max_hz,
        return_decibel=True,
        db_dynamic_range=DYNAMIC_RANGE_DB,
        input_data_format="channels_last",
        output_data_format="channels_last",
        name="mel_decibels",
    )


def _convolve(features: Any, filters: int, dropout: float, name: str) -> Any:
    kernel = (1, 3, 3) if name == "block1" else (3, 3, 3)
    features = keras.layers.Conv3D(filters, kernel, padding="same", use_bias=False, name=f"{name}_conv")(features)
    features = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(features)
    features = keras.layers.ReLU(name=f"{name}_relu")(features)
    # Whole channels are dropped: the maximum over single kept values, scaled up by 1 / (1 - dropout), would be larger in
    # training than in use, and the batch norms behind it would hold the wrong means.
    return keras.layers.SpatialDropout3D(dropout, name=f"{name}_dropout")(features)
