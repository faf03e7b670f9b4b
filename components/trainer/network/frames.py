# SPDX-License-Identifier: Apache-2.0
"""From a recording to its mel frames, of which silence, pauses and quiet noise are left out.

A recording is read in pieces of seconds, and the only thing of its length that is ever in memory are its mel frames.
"""

from typing import Any

import librosa
import tensorflow as tf

from beam_jobs import examples
from beam_jobs.silence import LOUD_RANGE_DB
from components.trainer.config import ModelConfig
from components.trainer.network.sound import Sound, map_in_turn, resample_seconds, scaled
from components.transform.preprocessing import WAVEFORM

PIECE_S = 8
"""Longest piece that is read and resampled at a time."""

BAND_RANGE_DB = 40.0
"""What is this far below the loudest mel band, on average, is not in the recording: the codec of a telephone leaves less."""

WAV_HEADER_BYTES = 44
"""Length of the header that tf.audio.encode_wav writes (RIFF, fmt and data chunks)."""


class Frames:
    """The frames of one network, which hears what its preprocessing graph and its mel layers make of a recording.

    Args:
        network, transform, model, num_samples, sample_rate_hz: as for `Inference`.
    """

    def __init__(self, network: Any, transform: Any, model: ModelConfig, num_samples: int, sample_rate_hz: int) -> None:
        self.mel_decibels, self.transform = network.get_layer("mel_decibels"), transform
        self.n_fft, self.hop = model.n_fft, model.hop_length
        self.num_samples, self.rate_hz = num_samples, sample_rate_hz
        self._skip_pauses = model.skip_pauses
        # As kapre places the bands, by librosa: band k is centred on frequency k + 1 of these.
        bounds = (model.mel_f_min_hz, model.highest_mel_hz(sample_rate_hz))
        self._mel_hz = librosa.mel_frequencies(model.n_mels + 2, fmin=bounds[0], fmax=bounds[1])[1:-1].astype("float32")

    def of(self, sound: Sound, rms_dbfs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The mel frames of a recording that are heard, and their numbers among all of its frames.

        Returns:
            float32 [frames, mel, 1] of decibels, int64 [frames], and which of them are loud: float32 [frames] of 0 and 1.
        """
        frames = (self.num_samples - self.n_fft) // self.hop + 1
        # Zeros on both sides, so that the first sound and the last are in as many frames as any other.
        chunks = (scaled(sound.samples, self.rate_hz, sound.rate_hz) + self.n_fft) // (self.hop * frames) + 1

        def hear_chunk(chunk: tf.Tensor) -> tf.Tensor:
            samples = self._resampled(sound, chunk * frames * self.hop - self.n_fft)
            raw = {examples.PCM16: _pcm16(samples, self.rate_hz), examples.RMS_DBFS: rms_dbfs[tf.newaxis]}
            return self.mel_decibels(self.transform(raw)[WAVEFORM], training=False)[0]

        bands = self.mel_decibels.output_shape[2]
        decibels = map_in_turn(hear_chunk, tf.range(chunks), tf.TensorSpec([frames, bands, 1], tf.float32))
        decibels = tf.reshape(decibels, [-1, bands, 1])
        heard, loud = self.choose(decibels)
        return tf.gather(decibels, heard), heard, loud

    def choose(self, decibels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Which frames of float32 [frames, mel, 1] are heard, int64 [heard], and which of those are loud: float32 [heard].

        Those that are loud, and with them, unless pauses are skipped, all that lie between the first and the last.
        """
        loud = is_loud(decibels)
        numbers = tf.where(loud)[:, 0]
        if self._skip_pauses:
            return numbers, tf.ones_like(numbers, tf.float32)
        # The loudest frame is loud: there is a first and a last.
        heard = tf.range(tf.reduce_min(numbers), tf.reduce_max(numbers) + 1)
        return heard, tf.cast(tf.gather(loud, heard), tf.float32)

    def band_hz(self, mel: tf.Tensor) -> tf.Tensor:
        """How high a recording reaches whose mean decibels are float32 [mel]; see `Measures`."""
        inside = tf.cast(mel > tf.reduce_max(mel) - BAND_RANGE_DB, tf.float32)
        return tf.reduce_max(inside * self._mel_hz)

    def _resampled(self, sound: Sound, start: tf.Tensor) -> tf.Tensor:
        """What the model's clips are made of: float32 [num_samples] from `start`, at the model's rate."""
        pieces = -(-self.num_samples // (PIECE_S * self.rate_hz))
        length = -(-self.num_samples // pieces)
        seconds = -(-length // self.rate_hz) + 3

        def read_piece(piece: tf.Tensor) -> tf.Tensor:
            first = start + piece * length
            # Whole seconds, so that both rates have a whole number of samples there, and one more on either side, in
            # which what the circular transform carries from one end to the other dies away.
            begin = tf.math.floordiv(first, self.rate_hz) - 1
            by_second = map_in_turn(
                lambda second: sound.read(second * sound.rate_hz, sound.rate_hz),
                tf.range(begin, begin + seconds),
                tf.TensorSpec([None], tf.float32),
            )
            samples = resample_seconds(tf.reshape(by_second, [-1]), seconds, sound.rate_hz, self.rate_hz)
            return samples[first - begin * self.rate_hz :][:length]

        parts = map_in_turn(read_piece, tf.range(pieces, dtype=tf.int64), tf.TensorSpec([length], tf.float32))
        return tf.reshape(parts, [-1])[: self.num_samples]


def is_loud(decibels: tf.Tensor) -> tf.Tensor:
    """Which frames of float32 [frames, mel, 1] are not far below the recording's loud parts: bool [frames]."""
    energy = tf.reduce_sum(tf.pow(10.0, (decibels - tf.reduce_max(decibels)) / 10), axis=[1, 2])
    # The energy's own mean: silence, which has none, cannot move it, as it would a mean over frames or a quantile.
    reference = tf.reduce_sum(tf.square(energy)) / tf.reduce_sum(energy)
    return energy > reference * 10 ** (-LOUD_RANGE_DB / 10)


def _pcm16(samples: tf.Tensor, sample_rate_hz: int) -> tf.Tensor:
    """float32 [samples] in [-1, 1] -> string [1], quantised as the generator of clips does."""
    content = tf.audio.encode_wav(samples[:, tf.newaxis], sample_rate_hz)
    return tf.strings.substr(content, WAV_HEADER_BYTES, tf.strings.length(content))[tf.newaxis]
