"""Changes that the network meets in training alone, so that it learns voices and not recordings."""

import math

import tensorflow as tf
import tf_keras as keras

NUM_WAVES = 6
RANGE = 40.0
"""Of noise levels, in kapre's decibels: 80 dB of power."""


class RandomEqualizer(keras.layers.Layer):
    """Turns bands up and down along a smooth random curve, another one for each clip: other microphones, other rooms.

    float32 [batch, time, mel, 1] of decibels -> the same shape. The curve is a sum of cosines over the bands, whose
    weights are normal with a deviation of `deviation_db` for the slowest and less for each faster one.

    Args:
        deviation_db: in the unit of the input.
    """

    def __init__(self, deviation_db: float, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.deviation_db = deviation_db

    def call(self, decibels: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Adds the curve; outside training nothing changes."""
        if not training:
            return decibels
        bands = decibels.shape[2]
        orders = tf.range(1, NUM_WAVES + 1, dtype=tf.float32)
        position = (tf.range(bands, dtype=tf.float32) + 0.5) / bands
        cosines = tf.cos(math.pi * orders[:, tf.newaxis] * position) / tf.sqrt(orders)[:, tf.newaxis]
        weights = self.deviation_db * tf.random.normal([tf.shape(decibels)[0], NUM_WAVES])
        return decibels + (weights @ cosines)[:, tf.newaxis, :, tf.newaxis]


class RandomNoise(keras.layers.Layer):
    """Lays noise of a random colour and level under the voices.

    float32 [batch, time, mel, 1] of kapre's decibels (10 log10 of a magnitude) -> the same shape.

    Args:
        max_db: highest level, in the unit of the input, relative to the loudest point of the clip; the lowest is 40 below it.
    """

    def __init__(self, max_db: float, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.max_db = max_db

    def call(self, decibels: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Adds magnitudes as powers; outside training nothing changes."""
        if not training:
            return decibels
        shape = tf.shape(decibels)
        level = tf.random.uniform([shape[0], 1, 1, 1], self.max_db - RANGE, self.max_db)
        slope = tf.random.uniform([shape[0], 1, 1, 1], -10.0, 0.0)
        position = tf.linspace(0.0, 1.0, decibels.shape[2])[tf.newaxis, tf.newaxis, :, tf.newaxis]
        # A Rayleigh-like spread, as that of a noise's magnitudes.
        noise = (
            tf.reduce_max(decibels, axis=[1, 2, 3], keepdims=True) + level + slope * position + tf.random.normal(shape, 0.0, 2.0)
        )
        return 5.0 * tf.math.log(tf.pow(10.0, decibels / 5.0) + tf.pow(10.0, noise / 5.0)) / math.log(10.0)
