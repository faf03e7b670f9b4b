# SPDX-License-Identifier: Apache-2.0
"""What every network hears: raw waveform in, mel decibels out; and those standardised, with their delta."""

from typing import Any

import tensorflow as tf
import tf_keras as keras
from kapre import STFT, ApplyFilterbank, Delta, Magnitude, MagnitudeToDecibel

from beam_jobs.errors import UserError
from components.trainer.config import ModelConfig, input_problem

DYNAMIC_RANGE_DB = 60.0
"""What lies further below the loudest point is raised to this: noise of the room or the converter, of which no answer may
depend. Down to 50 dB that holds better still, and costs accuracy (docs/decisions/0005-network-trials.md, section 8)."""

SPEECH_RANGE_DB = 40.0
"""Frames whose loudest band is no further below the loudest point take part in the standardisation."""

QUIETEST = -3.0
"""Standardised values end here: how deep a pause is says nothing about a voice."""

DELTA_GAIN = 2.0
"""Brings the delta, whose slopes are small, to about the deviation of what it is the slope of."""

POWER_FLOOR = 1e-10
UNLIMITED_DB = 400.0
"""kapre always limits the range; here it must not, because a window of a recording has a loudest point of its own."""


class Power(keras.layers.Layer):
    """Squares magnitudes: kapre's filters then add up power, as librosa's do by default."""

    def call(self, magnitudes: tf.Tensor) -> tf.Tensor:
        """Float32 of any shape -> the same."""
        return tf.square(magnitudes)


class Standardize(keras.layers.Layer):
    """Standardises clip by clip: mel decibels float32 [batch, time, mel, 1] -> the same shape.

    One mean and one deviation for the whole of a clip, over the frames that are not much quieter than its loudest. So
    neither loudness nor the length of pauses changes anything, and the spectrum's shape stays.
    """

    def call(self, decibels: tf.Tensor) -> tf.Tensor:
        """Total silence becomes 0."""
        loudest = tf.reduce_max(decibels, axis=[1, 2, 3], keepdims=True)
        decibels = tf.maximum(decibels, loudest - DYNAMIC_RANGE_DB)
        sounds = tf.cast(tf.reduce_max(decibels, axis=2, keepdims=True) >= loudest - SPEECH_RANGE_DB, tf.float32)
        mean, variance = tf.nn.weighted_moments(decibels, axes=[1, 2], frequency_weights=sounds, keepdims=True)
        return tf.maximum((decibels - mean) * tf.math.rsqrt(variance + 1.0), QUIETEST)


def mel_decibels(model: ModelConfig, sample_rate_hz: int) -> keras.Model:
    """The mel spectrogram by kapre, in decibels of power.

    Frame i covers the samples from i * hop_length on; nothing is padded.

    Args:
        model: the spectrogram's settings.
        sample_rate_hz: of the waveform.

    Returns:
        A model that takes float32 [batch, samples] and returns float32 [batch, time, mel, 1].
    """
    waveform = keras.Input([None], name="waveform")
    channels_last = {"input_data_format": "channels_last", "output_data_format": "channels_last"}
    spectrum = STFT(model.n_fft, hop_length=model.hop_length, **channels_last, name="stft")(waveform[:, :, tf.newaxis])
    filters = {
        "sample_rate": sample_rate_hz,
        "n_freq": model.n_fft // 2 + 1,
        "n_mels": model.n_mels,
        "f_min": model.mel_f_min_hz,
        "f_max": model.highest_mel_hz(sample_rate_hz),
    }
    power = Power(name="power")(Magnitude(name="magnitude")(spectrum))
    mel = ApplyFilterbank(type="mel", filterbank_kwargs=filters, data_format="channels_last", name="mel_filters")(power)
    decibels = MagnitudeToDecibel(amin=POWER_FLOOR, dynamic_range=UNLIMITED_DB, name="decibels")(mel)
    return keras.Model(waveform, decibels, name="mel_decibels")


def mel_and_delta(decibels: Any) -> Any:
    """float32 [batch, time, mel, 1] -> float32 [batch, time, mel, 2]: standardised, and its slope over five frames by kapre.

    There must be two frames at least: kapre's Delta mirrors two at either end.
    """
    mel = Standardize(name="mel")(decibels)
    delta = Delta(name="delta", data_format="channels_last")(mel)
    return tf.concat([mel, DELTA_GAIN * delta], axis=-1)


def check_input(model: ModelConfig, num_samples: int, sample_rate_hz: int) -> None:
    """Raises UserError where an input of `num_samples` is shorter than two STFT frames or the bands pass Nyquist."""
    if problem := input_problem(model, num_samples, sample_rate_hz):
        raise UserError(problem)
