# SPDX-License-Identifier: Apache-2.0
"""The same inference of operators that every runtime has: what `audio-gender export` writes.

TensorFlow Lite and ONNX know no strings and no lists of tensors, and not every runtime of theirs has a Fourier transform. So a
waveform at the model's rate is heard at once; its samples are quantised by arithmetic, and kapre's STFT is a convolution with
its window times cosines and sines. All else is the network's own: its mel filters, its classifier, the rules of `Inference`.
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from beam_jobs import examples
from beam_jobs.silence import LEVEL_FLOOR_POWER, QUIETEST_CLIP_DBFS
from components.trainer.config import CELL
from components.trainer.network.inference import MIN_PURITY, MIN_WINDOWS, Inference
from components.trainer.network.pooling import pool_windows
from components.trainer.network.sound import ANCHOR_SHARE, HEARD_PEAK, SILENT_PEAK
from components.transform.preprocessing import WAVEFORM

FULL_SCALE = 32768.0

Place = Callable[[tf.Tensor], tf.Tensor]


class PortableInference(Inference):
    """The inference of one network for waveforms at its rate; the arguments are those of `Inference`."""

    def answer_waveform(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the signature `waveform` says about float32 [samples], one at least, full scale 1.0.

        Returns:
            `probabilities` float32 [classes], and `speech` float32, as in `Answer`; NaN and infinite samples are no speech.
        """
        magnitude = tf.abs(waveform)
        peak = tf.reduce_max(magnitude)
        audible = tf.reduce_all(magnitude < math.inf) & (peak > SILENT_PEAK)
        # What is not audible goes the same way, as silence: every runtime knows a choice of values, but not one of ways.
        # (Not of zeros: tf2onnx makes a choice of zero a product with it, and NaN times zero is NaN.)
        decibels = self._all_decibels(tf.where(audible, waveform, SILENT_PEAK), tf.where(audible, peak, 1.0))
        chosen, loud = self._frames.choose(decibels)
        decibels = tf.gather(decibels, chosen)
        frames = tf.shape(decibels)[0]
        windows, length, place = self.place_windows(tf.maximum(frames, self.min_frames))
        logits, speech = self._hear_windows(decibels, windows, length, place)
        pooled = pool_windows(logits, tf.reduce_sum(speech, axis=1), self._mixed)

        frame = place(tf.range(windows))
        heard = (frame[:, :1] <= tf.range(frames)) & (tf.range(frames) <= frame[:, -1:])
        times_heard = tf.reduce_sum(tf.cast(heard, tf.float32), axis=0)
        speech_frames = tf.reduce_sum(speech / take(times_heard, frame))
        share = tf.minimum(speech_frames * self._hop / tf.cast(tf.size(waveform), tf.float32), 1.0)
        is_speech = audible & (frames >= self.min_frames) & (speech_frames >= MIN_PURITY * tf.reduce_sum(loud))
        share = tf.where(is_speech, share, 0.0)
        return {"probabilities": self.probabilities(pooled, share), "speech": share}

    def _all_decibels(self, waveform: tf.Tensor, peak: tf.Tensor) -> tf.Tensor:
        """The mel decibels of all of a recording from its first sound on: float32 [frames, mel, 1]."""
        power = tf.reduce_mean(tf.square(waveform / peak * HEARD_PEAK))
        rms_dbfs = 10.0 * tf.math.log(tf.maximum(power, LEVEL_FLOOR_POWER)) / math.log(10.0)
        first_sound = tf.argmax(tf.cast(tf.abs(waveform) > ANCHOR_SHARE * peak, tf.int32), output_type=tf.int32)
        samples = waveform[first_sound:] / peak * HEARD_PEAK * FULL_SCALE
        # As tf.audio.encode_wav: halves are rounded away from zero.
        pcm16 = tf.clip_by_value(tf.sign(samples) * tf.floor(tf.abs(samples) + 0.5), -FULL_SCALE, FULL_SCALE - 1)
        samples = pcm16 * self._gain(rms_dbfs)
        # As many frames as `Inference` hears clip by clip, the first and the last of them of zeros.
        clip = (self._frames.num_samples - self._n_fft) // self._hop + 1
        frames = ((tf.size(samples) + self._n_fft) // (self._hop * clip) + 1) * clip
        behind = (frames - 1) * self._hop - tf.size(samples)
        samples = tf.pad(samples, [[self._n_fft, tf.maximum(behind, 0)]])[: (frames - 1) * self._hop + self._n_fft]
        return self._decibels_of(samples)

    def _gain(self, rms_dbfs: tf.Tensor) -> tf.Tensor:
        """What the preprocessing graph multiplies samples of 16 bits with in a recording of this level."""
        return tf.where(rms_dbfs > QUIETEST_CLIP_DBFS, self._gain_at_0_dbfs() * tf.pow(10.0, -rms_dbfs / 20), 1 / FULL_SCALE)

    def _gain_at_0_dbfs(self) -> float:
        # The mean level of the training set is a constant of the preprocessing graph, so it is asked.
        with tf.init_scope():
            pcm16 = np.full(self._frames.num_samples, 16384, "<i2").tobytes()
            raw = {examples.PCM16: tf.constant([pcm16]), examples.RMS_DBFS: tf.constant([0.0])}
            return float(self._frames.transform(raw)[WAVEFORM][0, 0]) / 16384

    def _decibels_of(self, samples: tf.Tensor) -> tf.Tensor:
        """The layers of `mel_decibels`, kapre's STFT and magnitude apart."""
        layer = self._frames.mel_decibels.get_layer
        bins = self._n_fft // 2 + 1
        # Whole turns are taken out first, in whole numbers.
        turns = tf.range(self._n_fft)[:, tf.newaxis] * tf.range(bins) % self._n_fft
        angle = tf.cast(turns, tf.float32) * (2 * math.pi / self._n_fft)
        waves = tf.concat([tf.cos(angle), tf.sin(angle)], axis=1) * layer("stft").window_fn(self._n_fft)[:, tf.newaxis]
        spectrum = tf.nn.conv1d(samples[tf.newaxis, :, tf.newaxis], waves[:, tf.newaxis], self._hop, "VALID")
        power = tf.square(spectrum[..., :bins]) + tf.square(spectrum[..., bins:])
        return layer("decibels")(layer("mel_filters")(power[..., tf.newaxis]))[0]

    def _hear_windows(
        self, decibels: tf.Tensor, windows: tf.Tensor, length: tf.Tensor, place: Place
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Each window's logits, float32 [windows, classes], and the speech in its frames, float32 [windows, length]."""
        # Always the same number, so that its shape is known beforehand; there are never fewer windows.
        batches = (windows + MIN_WINDOWS - 1) // MIN_WINDOWS

        def hear(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            heard = take(decibels, place(batch * MIN_WINDOWS + tf.range(MIN_WINDOWS)))
            outputs = self._classifier(tf.ensure_shape(heard, [MIN_WINDOWS, None, *decibels.shape[1:]]), training=False)
            return outputs["logits"], tf.repeat(tf.sigmoid(outputs["speech"]), CELL, axis=1)[:, :length]

        def hear_next(batch: tf.Tensor, logits: tf.Tensor, speech: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            more_logits, more_speech = hear(batch)
            return batch + 1, tf.concat([logits, more_logits], axis=0), tf.concat([speech, more_speech], axis=0)

        shapes = (tf.TensorShape([]), tf.TensorShape([None, self._num_classes]), tf.TensorShape([None, None]))
        _, logits, speech = tf.while_loop(
            lambda batch, *_: batch < batches, hear_next, (tf.constant(1), *hear(tf.constant(0))), shape_invariants=shapes
        )
        return logits[:windows], speech[:windows]


def take(values: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """tf.gather along the first axis by int32 [rows, columns]; a place behind the last is the last."""
    flat = tf.gather(values, tf.reshape(tf.minimum(places, tf.shape(values)[0] - 1), [-1]))
    return tf.reshape(flat, tf.concat([tf.shape(places), tf.shape(values)[1:]], axis=0))
