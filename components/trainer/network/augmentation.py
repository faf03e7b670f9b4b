# SPDX-License-Identifier: Apache-2.0
"""What the network meets in training alone, so that it learns voices and not recordings: other rooms, microphones and noises."""

import math

import tensorflow as tf
import tf_keras as keras

from beam_jobs.config import Range
from components.trainer.config import AugmentConfig

COLOUR_DB = 6.0
"""Deviation of the slowest wave of a noise's colour."""
NUM_WAVES = 8
VOICES_IN_BABBLE = 5
STEEPEST_DB = 70.0
"""What a band limit takes away at most."""
RANGE_DB = 90.0
"""Nothing is left this far below the loudest point."""


class RandomConditions(keras.layers.Layer):
    """Puts each clip into conditions of its own: a frequency response, other voices, other sounds, noise and a limited band.

    float32 [batch, time, mel, 1] of mel decibels of power -> the same shape. Powers add up, so this is as good as mixing
    waveforms, and costs next to nothing. Of each effect the settings say in how many clips it takes part and how strong it may
    be; other voices and other sounds are the other clips of the batch, whose first ones are not speech (`not_speech_rows`).
    """

    def __init__(self, augment: AugmentConfig, not_speech_rows: int = 0, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.augment = augment
        self.not_speech_rows = not_speech_rows

    def call(self, decibels: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Outside training nothing changes."""
        if not training:
            return decibels
        augment, batch, bands = self.augment, tf.shape(decibels)[0], decibels.shape[2]
        deviation = tf.random.uniform([batch, 1], 0.0, augment.equalizer_db)
        power = from_decibels(decibels[..., 0] + deviation[:, :, tf.newaxis] * smooth_curves(batch, bands))
        level = _mean(power)
        if augment.background_share:
            clips = power / level
            babble = tf.add_n([tf.random.shuffle(clips) for _ in range(VOICES_IN_BABBLE)]) / VOICES_IN_BABBLE
            power += self._background(babble, level)
            if self.not_speech_rows:
                sounds = tf.gather(clips, tf.random.uniform([batch], 0, self.not_speech_rows, tf.int32))
                power += self._background(sounds, level)
        # A narrow band is that of the line, which noise passes too, or that of the room, where noise comes after it.
        first = _drawn(batch, 0.5)
        limits = (_band_limits(batch, bands, augment.band_limit_share) for _ in range(2))
        power *= 1 - first + first * next(limits)
        power += _drawn(batch, augment.noise_share) * _noise(batch, power) * _mean(power) * _at_snr(batch, augment.noise_snr_db)
        power *= first + (1 - first) * next(limits)
        loudest = tf.reduce_max(power, axis=[1, 2], keepdims=True)
        return to_decibels(power + loudest * 10.0 ** (-RANGE_DB / 10))[..., tf.newaxis]

    def _background(self, sounds: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
        batch = tf.shape(sounds)[0]
        return _drawn(batch, self.augment.background_share) * sounds * level * _at_snr(batch, self.augment.background_snr_db)


class MelMask(keras.layers.Layer):
    """Hides some neighbouring bands of some clips, as SpecAugment does: float32 [batch, time, mel, channels] -> the same."""

    def __init__(self, augment: AugmentConfig, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.augment = augment

    def call(self, features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """What is hidden becomes 0, the mean; outside training nothing changes."""
        if not training or not self.augment.mask_share:
            return features
        batch, bands = tf.shape(features)[0], features.shape[2]
        width = tf.random.uniform([batch, 1, 1], 0.0, self.augment.mask_bands * bands)
        centre = tf.random.uniform([batch, 1, 1], 0.0, float(bands))
        hidden = _drawn(batch, self.augment.mask_share) * tf.cast(tf.abs(_numbered(bands) - centre) < width / 2, tf.float32)
        return features * (1 - hidden)[..., tf.newaxis]


def from_decibels(decibels: tf.Tensor) -> tf.Tensor:
    """Powers."""
    return tf.pow(10.0, decibels / 10.0)


def to_decibels(power: tf.Tensor) -> tf.Tensor:
    """Decibels of powers; total silence stays finite."""
    return 10.0 * tf.math.log(tf.maximum(power, 1e-20)) / math.log(10.0)


def smooth_curves(batch: tf.Tensor, bands: int) -> tf.Tensor:
    """float32 [batch, 1, bands]: sums of cosines over the bands, with normal weights of deviation 1 / sqrt(order)."""
    orders = tf.range(1, NUM_WAVES + 1, dtype=tf.float32)
    position = (tf.range(bands, dtype=tf.float32) + 0.5) / bands
    cosines = tf.cos(math.pi * orders[:, tf.newaxis] * position) / tf.sqrt(orders)[:, tf.newaxis]
    return (tf.random.normal([batch, NUM_WAVES]) @ cosines)[:, tf.newaxis]


def _noise(batch: tf.Tensor, power: tf.Tensor) -> tf.Tensor:
    """Steady noise of a random colour and of mean power 1, with about the scatter of a noise's own bands."""
    bands = power.shape[2]
    slope = tf.random.uniform([batch, 1, 1], -12.0, 4.0) * _numbered(bands) / bands
    noise = from_decibels(COLOUR_DB * smooth_curves(batch, bands) + slope + tf.random.normal(tf.shape(power), 0.0, 2.5))
    return noise / _mean(noise)


def _band_limits(batch: tf.Tensor, bands: int, share: float) -> tf.Tensor:
    """Factors of power float32 [batch, 1, bands]: some clips lose their top, half as many their bottom."""
    top = tf.random.uniform([batch, 1, 1], 0.4 * bands, float(bands))
    bottom = tf.random.uniform([batch, 1, 1], 0.0, 0.17 * bands)
    # 5 to 32 dB a band where there are 64.
    slope = 16.0 * 64 / bands / tf.random.uniform([batch, 1, 1], 0.5, 3.0)
    lost = _drawn(batch, share) * tf.nn.softplus((_numbered(bands) - top) * slope / 4)
    lost += _drawn(batch, share / 2) * tf.nn.softplus((bottom - _numbered(bands)) * slope / 4)
    return from_decibels(-tf.minimum(4.0 * lost, STEEPEST_DB))


def _at_snr(batch: tf.Tensor, snr_db: Range) -> tf.Tensor:
    return from_decibels(-tf.random.uniform([batch, 1, 1], snr_db.min, snr_db.max))


def _drawn(batch: tf.Tensor, share: float) -> tf.Tensor:
    return tf.cast(tf.random.uniform([batch, 1, 1]) < share, tf.float32)


def _mean(power: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(power, axis=[1, 2], keepdims=True) + 1e-20


def _numbered(bands: int) -> tf.Tensor:
    return tf.range(bands, dtype=tf.float32)[tf.newaxis, tf.newaxis]
