# SPDX-License-Identifier: Apache-2.0
"""A recording in the graph, read a second at a time: what is known of it before it is heard, and at another rate."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from beam_jobs.silence import LEVEL_FLOOR_POWER

ANCHOR_SHARE = 0.03
"""A recording starts at its first sample above this share of its peak (-30 dB), so that the frames after it lie the same
way whatever silence there was before."""

SILENT_PEAK = 1e-30
"""Below, scaling to full scale leaves the numbers that a float32 holds; no converter makes less than 1e-8."""

HEARD_PEAK = 0.5
"""Recordings are brought to this peak: a quiet one loses nothing to 16 bits, and between the samples of a clipped one, where
resampling finds more than its peak, there is room."""

CLIPPED_SHARE, LOUD_SECOND = 0.99, 0.9
"""A sample at this share of its second's peak is one of the peak itself, and a second whose own peak is at this share of the
recording's is loud."""


class Sound(NamedTuple):
    """A recording that has not been read yet, in the graph.

    Attributes:
        read: (start int64, length int64), in samples, to mono float32 [length], full scale 1.0, zeros beyond both ends.
        samples: int64, how many there are.
        rate_hz: int64.
        error: string, why it cannot be read; empty where it can.
    """

    read: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    samples: tf.Tensor
    rate_hz: tf.Tensor
    error: tf.Tensor


def zeros_around(
    read: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], samples: tf.Tensor
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """`Sound.read`, made of a function that reads what lies within 0 and `samples`."""

    def read_anywhere(start: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        first, last = tf.clip_by_value(start, 0, samples), tf.clip_by_value(start + length, 0, samples)
        before = tf.clip_by_value(-start, 0, length)
        return tf.pad(read(first, last - first), [[before, length - before - (last - first)]])

    return read_anywhere


class Survey(NamedTuple):
    """What has to be known of a recording before any of it can be heard.

    Attributes:
        peak: float32, that of its samples; infinite where one of them is not finite.
        rms_dbfs: float32, its level, if its peak were `HEARD_PEAK`.
        anchor: int64, how many samples come before the first sound.
        clipping: float32, share of the samples of its loud seconds that are within `CLIPPED_SHARE` of their second's peak: less
            than 0.001 of a voice, and much more where a converter or an editor cut its peaks off.
    """

    peak: tf.Tensor
    rms_dbfs: tf.Tensor
    anchor: tf.Tensor
    clipping: tf.Tensor

    @property
    def level_dbfs(self) -> tf.Tensor:
        """The level as it was recorded."""
        return self.rms_dbfs + 20.0 * tf.math.log(tf.maximum(self.peak, SILENT_PEAK) / HEARD_PEAK) / tf.math.log(10.0)


def survey(sound: Sound) -> Survey:
    """Reads the recording second by second."""

    def look(second: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        samples = sound.read(second * sound.rate_hz, sound.rate_hz)
        magnitude = tf.abs(samples)
        peak = tf.reduce_max(magnitude)
        at_peak = tf.reduce_sum(tf.cast(magnitude >= CLIPPED_SHARE * peak, tf.float32))
        # Float samples may be of any size, and the square of a large float32 is not one.
        energy = tf.reduce_sum(tf.square(tf.cast(samples, tf.float64)))
        return tf.where(tf.reduce_all(tf.math.is_finite(samples)), peak, float("inf")), energy, at_peak

    # One at least, so that a recording of no samples has a peak too: 0.
    seconds = tf.maximum(-(-sound.samples // sound.rate_hz), 1)
    outputs = (tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.float64), tf.TensorSpec([], tf.float32))
    peaks, energies, at_peak = map_in_turn(look, tf.range(seconds), outputs)
    peak = tf.reduce_max(peaks)
    loud = tf.cast(peaks >= LOUD_SECOND * peak, tf.float32)
    in_loud = tf.cast(tf.clip_by_value(sound.samples - tf.range(seconds) * sound.rate_hz, 1, sound.rate_hz), tf.float32)
    clipping = tf.reduce_sum(loud * at_peak) / tf.reduce_sum(loud * in_loud)
    second = tf.argmax(peaks > ANCHOR_SHARE * peak) * sound.rate_hz
    anchor = second + tf.argmax(tf.abs(sound.read(second, sound.rate_hz)) > ANCHOR_SHARE * peak)
    scale = tf.cast(HEARD_PEAK / tf.maximum(peak, SILENT_PEAK), tf.float64)
    power = tf.cast(tf.reduce_sum(energies) * tf.square(scale) / tf.cast(tf.maximum(sound.samples, 1), tf.float64), tf.float32)
    return Survey(peak, 10.0 * tf.math.log(tf.maximum(power, LEVEL_FLOOR_POWER)) / tf.math.log(10.0), anchor, clipping)


def from_first_sound(sound: Sound, known: Survey) -> Sound:
    """The recording without what comes before its first sound, its peak brought to `HEARD_PEAK`."""
    samples = sound.samples - known.anchor
    read = zeros_around(lambda first, length: sound.read(known.anchor + first, length) / known.peak * HEARD_PEAK, samples)
    return sound._replace(read=read, samples=samples)


def resample_seconds(samples: tf.Tensor, seconds: int, from_hz: tf.Tensor, to_hz: int) -> tf.Tensor:
    """Resamples by cutting or padding the spectrum: float32 [seconds * from_hz] -> float32 [seconds * to_hz]."""

    def by_spectrum() -> tf.Tensor:
        spectrum = tf.signal.rfft(samples)
        bins = seconds * to_hz // 2 + 1
        spectrum = tf.pad(spectrum[:bins], [[0, tf.maximum(bins - tf.size(spectrum), 0)]])
        return tf.signal.irfft(spectrum, [seconds * to_hz]) * (to_hz / tf.cast(from_hz, tf.float32))

    return tf.cond(tf.equal(from_hz, to_hz), lambda: samples, by_spectrum)


def first_problem(*problems: tuple[tf.Tensor, tf.Tensor | str]) -> tf.Tensor:
    """The message of the first (condition, message) whose condition holds, or an empty one."""
    error = tf.constant("")
    for holds, message in reversed(problems):
        error = tf.where(holds, message, error)
    return error


def scaled(samples: tf.Tensor, to_hz: int, from_hz: tf.Tensor) -> tf.Tensor:
    """How many samples there are at another rate, rounded up."""
    return (samples * to_hz + from_hz - 1) // from_hz


def map_in_turn(function: Callable[[Any], Any], elements: Any, outputs: Any) -> Any:
    """tf.map_fn, an element after the other."""
    # One at a time: several would need several times the memory.
    return tf.map_fn(function, elements, fn_output_signature=outputs, parallel_iterations=1)
