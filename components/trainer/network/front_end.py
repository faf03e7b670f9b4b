"""What every network hears: raw waveform in; standardised mel decibels, their delta, and where the voices are."""

from typing import Any

import tensorflow as tf
import tf_keras as keras
from kapre import Delta
from kapre.composed import get_melspectrogram_layer

from beam_jobs.errors import UserError
from components.trainer.config import ModelConfig, input_problem
from components.trainer.network.augmentation import RandomEqualizer, RandomNoise

DYNAMIC_RANGE_DB = 40.0
"""In kapre's decibels, 10 log10 of a magnitude: 80 dB of power below the loudest point of a clip."""

SPEECH_RANGE_DB = 20.0
"""A frame this far below the loudest frame (again of magnitude: 40 dB of power) is taken for silence."""


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


def mel_and_delta(model: ModelConfig, waveform: Any, sample_rate_hz: int) -> tuple[Any, Any]:
    """The front end's graph.

    Args:
        model: the spectrogram's settings.
        waveform: Keras tensor, float32 [batch, samples].
        sample_rate_hz: of the waveform.

    Returns:
        features float32 [batch, time, mel, 2] (mel decibels and their delta, standardised clip by clip, 0 where there is
        silence) and mask float32 [batch, time, 1, 1], 1 where there is sound.
    """
    decibels = _mel_decibels(model, sample_rate_hz)(waveform[:, :, tf.newaxis])
    mask = SpeechMask(name="speech_mask")(decibels)
    augment = model.augment
    # kapre's decibels are of magnitude: half of those of power.
    if augment.equalizer_db:
        decibels = RandomEqualizer(augment.equalizer_db / 2, name="equalizer")(decibels)
    if augment.noise_db is not None:
        decibels = RandomNoise(augment.noise_db / 2, name="noise")(decibels)
    mel = Standardize(name="mel")([decibels, mask])
    delta = Standardize(name="delta")([Delta(name="mel_delta", data_format="channels_last")(mel), mask])
    return tf.concat([mel, delta], axis=-1), mask


def check_input(model: ModelConfig, num_samples: int, sample_rate_hz: int) -> None:
    """Raises UserError where an input of `num_samples` is shorter than two STFT frames or the bands pass Nyquist."""
    if problem := input_problem(model, num_samples, sample_rate_hz):
        raise UserError(problem)


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
