# SPDX-License-Identifier: Apache-2.0
"""From a recording to its answer: the one way that every signature of the exported model goes.

Silence, pauses and quiet noise change nothing: the recording starts at its first sound, what is far below its loud parts is
taken out, and windows over the rest are weighed by the speech in them. See docs/decisions/0005-network-trials.md, 4.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from beam_jobs.labels import mixed_index
from components.trainer.config import CELL, ModelConfig
from components.trainer.network.answers import Answer, Heard, Measures, Steps
from components.trainer.network.frames import Frames
from components.trainer.network.pooling import (
    DEFAULT_FIT,
    PoolingFit,
    class_probabilities,
    mean_window,
    pool_steps,
    pool_windows,
    pool_windows_by_step,
)
from components.trainer.network.sound import (
    SILENT_PEAK,
    Sound,
    first_problem,
    from_first_sound,
    map_in_turn,
    scaled,
    survey,
)

MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 192_000
"""Below, nothing of a voice but its lowest formants is left; above, nobody records, and a second costs memory."""

MIN_LOUD_S = 0.05
"""Of less sound than this nobody can tell a voice from a click."""

MIN_PURITY = 0.4
"""Share of speech in the loud frames below which there is none. Of a network of the cross-validation (docs/accuracy.md): 2 % of
210 synthetic noises, tones and pieces of music are above it, and all of 63 voices of LibriSpeech and 92 of another corpus
(lowest 0.46, a woman in mains hum; the others 0.65 and more)."""

WINDOW_S, STEP_S = 3.0, 0.5
"""What the network hears at a time, as in training; windows overlap so far that no boundary matters."""

MIN_WINDOWS = CELL + 1
"""However short a recording is: its cells are then heard from every frame on, and none of them decides alone."""

WINDOWS_AT_A_TIME = 16
"""An hour of audio must not need the memory of an hour of activations."""


class Inference:
    """The inference of one network.

    Args:
        network: what `build_model` gave.
        transform: the preprocessing graph.
        model: the spectrogram's settings.
        num_samples: length of a clip, which is what the preprocessing graph takes.
        sample_rate_hz: of the clips.
        classes: names of the labels.
        max_duration_s: longest recording that is answered.
        fit: of the network, where the classes have `mixed`.
    """

    def __init__(
        self,
        network: Any,
        transform: Any,
        model: ModelConfig,
        num_samples: int,
        sample_rate_hz: int,
        classes: Sequence[str],
        max_duration_s: float,
        fit: PoolingFit = DEFAULT_FIT,
    ) -> None:
        self._classifier = network.get_layer("classifier")
        self._frames = Frames(network, transform, model, num_samples, sample_rate_hz)
        self._n_fft, self._hop, self._rate_hz = model.n_fft, model.hop_length, sample_rate_hz
        self._num_classes, self._mixed, self._max_duration_s = len(classes), mixed_index(classes), max_duration_s
        self.num_pooled, self._fit = self._num_classes if self._mixed is None else self._mixed, fit
        self._window, self._step = (max(1, round(s * sample_rate_hz / self._hop)) for s in (WINDOW_S, STEP_S))
        # A click alone is in several frames. The network needs two.
        self.min_frames = max(2, (round(MIN_LOUD_S * sample_rate_hz) + self._n_fft) // self._hop)
        number = tf.TensorSpec([], tf.float32)
        self.measures_signature = Measures(
            number,
            number,
            number,
            tf.TensorSpec([model.n_mels], tf.float32),
            tf.TensorSpec([2 * model.embedding], tf.float32),
        )
        self.signature = Answer(
            tf.TensorSpec([self._num_classes], tf.float32),
            tf.TensorSpec([], tf.float32),
            tf.TensorSpec([], tf.float32),
            tf.TensorSpec([], tf.string),
        )

    def answer(self, sound: Sound) -> Answer:
        """Hears a recording; what is wrong with it is in its answer's `error`, never an exception."""
        return self._answered(self.hear(sound))

    def answer_and_measure(self, sound: Sound) -> tuple[Answer, tf.Tensor, Steps, Measures]:
        """The same answer; of the same windows the timeline, probabilities float32 [steps, classes] and the steps; measures."""
        heard = self.hear(sound)
        by_step = self.probabilities(heard.steps.pooled, heard.steps.weights)
        return self._answered(heard), by_step, heard.steps, heard.measures

    def combined(self, pooled: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """The probabilities of a recording that was heard in parts, of all of its steps: float32 [classes]."""
        return self.probabilities(pool_steps(pooled, weights, self._mixed), tf.reduce_sum(weights))

    def probabilities(self, pooled: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Those of the classes, float32 [..., classes]; uniform where nothing weighs."""
        known = class_probabilities(pooled, self._mixed, self._fit)
        return tf.where(weights[..., tf.newaxis] > 0, known, 1.0 / self._num_classes)

    def _answered(self, heard: Heard) -> Answer:
        return Answer(self.probabilities(heard.pooled, heard.speech), heard.speech, heard.duration_s, heard.error)

    def hear(self, sound: Sound) -> Heard:
        """Hears a recording; what is wrong with it is in `error`, never an exception."""
        duration_s = tf.cast(sound.samples / tf.maximum(sound.rate_hz, 1), tf.float32)
        error = first_problem(
            (sound.error != "", sound.error),
            (
                (sound.rate_hz < MIN_RATE_HZ) | (sound.rate_hz > MAX_RATE_HZ),
                tf.strings.format(f"sample rate {{}} Hz is outside {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz", sound.rate_hz),
            ),
            (
                duration_s > self._max_duration_s,
                tf.strings.format(
                    f"{{}} s long, longer than {self._max_duration_s:g} s", tf.cast(tf.round(duration_s), tf.int64)
                ),
            ),
        )
        readable = error == ""
        duration_s = tf.where(readable | (sound.error == ""), duration_s, 0.0)
        steps = tf.where(readable, _steps(sound.samples, sound.rate_hz), 0)
        pooled, speech, by_step, measures, error = tf.cond(
            readable, lambda: self._hear(sound, steps), lambda: (*self._no_speech(steps), error)
        )
        return Heard(pooled, speech, duration_s, error, by_step, measures)

    def _no_speech(self, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Steps, Measures]:
        by_step = Steps(tf.zeros([steps, self.num_pooled]), tf.zeros([steps]), tf.zeros([steps]))
        measures = Measures(*(tf.zeros(spec.shape) for spec in self.measures_signature))
        return tf.zeros([self.num_pooled]), tf.constant(0.0), by_step, measures

    def _hear(self, sound: Sound, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Steps, Measures, tf.Tensor]:
        """The pooled windows, share of speech, timeline, measures, error."""
        known = survey(sound)
        finite = tf.math.is_finite(known.peak)

        def classify() -> tuple[tf.Tensor, tf.Tensor, Steps, Measures]:
            decibels, numbers, loud = self._frames.of(from_first_sound(sound, known), known.rms_dbfs)
            # A frame's middle, in the time of the recording; in front of it are n_fft zeros.
            middle = (numbers * self._hop - self._n_fft // 2) * sound.rate_hz // self._rate_hz + known.anchor
            step = tf.cast(middle / sound.rate_hz / STEP_S, tf.int32)
            pooled, speech, by_step, embedding = self._classify(
                decibels, loud, tf.clip_by_value(step, 0, steps - 1), steps, sound
            )
            mel = tf.reduce_mean(decibels[..., 0], axis=0)
            return pooled, speech, by_step, Measures(known.level_dbfs, known.clipping, self._frames.band_hz(mel), mel, embedding)

        pooled, speech, by_step, measures = tf.cond(finite & (known.peak > SILENT_PEAK), classify, lambda: self._no_speech(steps))
        return pooled, speech, by_step, measures, tf.where(finite, "", "samples that are NaN or infinite")

    def _classify(
        self, decibels: tf.Tensor, loud: tf.Tensor, step: tf.Tensor, steps: tf.Tensor, sound: Sound
    ) -> tuple[tf.Tensor, tf.Tensor, Steps, tf.Tensor]:
        """The frames heard, float32 [frames, mel, 1], which are loud, their steps -> pooled, speech, timeline, embedding."""

        def no_speech() -> tuple[tf.Tensor, tf.Tensor, Steps, tf.Tensor]:
            pooled, speech, by_step, measures = self._no_speech(steps)
            return pooled, speech, by_step, measures.embedding

        return tf.cond(
            tf.shape(decibels)[0] >= self.min_frames,
            lambda: self._weigh_windows(decibels, loud, step, steps, sound),
            no_speech,
        )

    def _weigh_windows(
        self, decibels: tf.Tensor, loud: tf.Tensor, step: tf.Tensor, steps: tf.Tensor, sound: Sound
    ) -> tuple[tf.Tensor, tf.Tensor, Steps, tf.Tensor]:
        frames = tf.shape(decibels)[0]
        windows, length, place = self.place_windows(frames)
        batches = -(-windows // WINDOWS_AT_A_TIME)
        at_a_time = -(-windows // batches)

        def hear_windows(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            outputs = self._classifier(tf.gather(decibels, place(batch * at_a_time + tf.range(at_a_time))), training=False)
            speech = tf.repeat(tf.sigmoid(outputs["speech"]), CELL, axis=1)[:, :length]
            return outputs["logits"], speech, outputs["embedding"]

        (size,) = self.measures_signature.embedding.shape
        outputs = tuple(tf.TensorSpec([None, width], tf.float32) for width in (self._num_classes, None, size))
        logits, speech, embedding = map_in_turn(hear_windows, tf.range(batches), outputs)
        # What is left of the last batch is its last window again.
        logits, speech = tf.reshape(logits, [-1, self._num_classes])[:windows], tf.reshape(speech, [-1, length])[:windows]
        weights = tf.reduce_sum(speech, axis=1)
        pooled = pool_windows(logits, weights, self._mixed)
        embedding = mean_window(tf.reshape(embedding, [-1, size])[:windows], weights)

        frame = place(tf.range(windows))
        times_heard = tf.math.unsorted_segment_sum(tf.ones_like(speech), frame, frames)
        heard_in_frame = speech / tf.gather(times_heard, frame)
        speech_frames = tf.reduce_sum(heard_in_frame)
        all_frames = tf.cast(scaled(sound.samples, self._rate_hz, sound.rate_hz), tf.float32) / self._hop
        share = tf.minimum(speech_frames / all_frames, 1.0)
        is_speech = speech_frames >= MIN_PURITY * tf.reduce_sum(loud)
        step = tf.gather(step, frame)
        # The same rule for a step, of the windows that hear it: in an hour of music a minute may be speech.
        loud_in_window = tf.maximum(tf.reduce_sum(tf.gather(loud, frame), axis=1), 1.0)
        purity = tf.repeat((weights / loud_in_window)[:, tf.newaxis], length, axis=1)
        of_speech = tf.math.unsorted_segment_mean(purity, step, steps) >= MIN_PURITY
        share_by_step = self._share_by_step(tf.math.unsorted_segment_sum(heard_in_frame, step, steps), sound)
        by_step = Steps(*pool_windows_by_step(logits, speech, step, steps, self._mixed), tf.where(of_speech, share_by_step, 0.0))
        return tf.where(is_speech, pooled, 0.0), tf.where(is_speech, share, 0.0), by_step, embedding

    def place_windows(self, frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        """How many windows there are over int32 `frames`, `min_frames` at least; their length in frames; and where they lie.

        The last is a function of int32 [windows], their numbers, to those of their frames: int32 [windows, length]. The last
        window ends with the recording, and so does every one behind it.
        """
        length = tf.minimum(tf.maximum(frames - MIN_WINDOWS + 1, self.min_frames), self._window)
        last = frames - length
        windows = tf.maximum(-(-last // self._step) + 1, MIN_WINDOWS)
        spacing = tf.cast(last, tf.float32) / tf.cast(windows - 1, tf.float32)

        def place(window: tf.Tensor) -> tf.Tensor:
            start = tf.minimum(tf.cast(tf.cast(window, tf.float32) * spacing, tf.int32), last)
            return start[:, tf.newaxis] + tf.range(length)

        return windows, length, place

    def _share_by_step(self, frames: tf.Tensor, sound: Sound) -> tf.Tensor:
        """How many frames of each step are speech -> which share of it: float32 [steps]. The last step may be short."""
        left_s = tf.cast(sound.samples / sound.rate_hz, tf.float32) - STEP_S * tf.cast(tf.range(tf.size(frames)), tf.float32)
        length = tf.clip_by_value(left_s, self._hop / self._rate_hz, STEP_S) * self._rate_hz / self._hop
        return tf.minimum(frames / length, 1.0)


def _steps(samples: tf.Tensor, rate_hz: tf.Tensor) -> tf.Tensor:
    """How many steps a recording has: int32."""
    return tf.cast(tf.math.ceil(samples / rate_hz / STEP_S), tf.int32)
