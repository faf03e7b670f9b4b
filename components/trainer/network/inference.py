"""From a recording to its answer: the one way that every signature of the exported model goes.

Silence, pauses and quiet noise change nothing: the recording starts at its first sound, what is far below its loud parts is
taken out, and windows over the rest are weighed by the speech in them. See docs/decisions/0005-network-trials.md, 4.
A recording is read in pieces of seconds, and the only thing of its length that is ever in memory are its mel frames.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from beam_jobs import examples
from beam_jobs.silence import LEVEL_FLOOR_POWER
from components.trainer.config import CELL, ModelConfig
from components.transform.preprocessing import WAVEFORM

MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 192_000
"""Below, nothing of a voice but its lowest formants is left; above, nobody records, and a second costs memory."""

ANCHOR_SHARE = 0.03
"""A recording starts at its first sample above this share of its peak (-30 dB), so that the frames after it lie the same
way whatever silence there was before."""

LOUD_RANGE_DB = 30.0
"""Frames further below the reference level are taken out: pauses, silence, quiet noise."""

MIN_LOUD_FRAMES = 4
"""Of fewer loud frames (80 ms) nobody can tell a voice from a click."""

MIN_PURITY = 0.45
"""Share of speech in the loud frames below which there is none: above 1.7 % of synthetic noise, tones and music, and below all
of 152 voices of two corpora (lowest 0.52)."""

WINDOW_S, STEP_S = 3.0, 0.5
"""What the network hears at a time, as in training; windows overlap so far that no boundary matters."""

WINDOWS_AT_A_TIME = 16
"""An hour of audio must not need the memory of an hour of activations."""

PIECE_S = 8
"""Longest piece that is read and resampled at a time."""

SILENT_PEAK = 1e-30
"""Below, scaling to full scale leaves the numbers that a float32 holds; no converter makes less than 1e-8."""

WAV_HEADER_BYTES = 44
"""Length of the header that tf.audio.encode_wav writes (RIFF, fmt and data chunks)."""


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


class Answer(NamedTuple):
    """What the model says about one recording.

    Attributes:
        probabilities: float32 [classes], uniform where there is no speech or an error.
        speech: float32, share of the recording that is speech, 0 to 1.
        duration_s: float32.
        error: string, one line, empty where all is well.
    """

    probabilities: Any
    speech: Any
    duration_s: Any
    error: Any


class Inference:
    """The inference of one network.

    Args:
        network: what `build_model` gave.
        transform: the preprocessing graph.
        model: the spectrogram's settings.
        num_samples: length of a clip, which is what the preprocessing graph takes.
        sample_rate_hz: of the clips.
        num_classes: of the labels.
        max_duration_s: longest recording that is answered.
    """

    def __init__(
        self,
        network: Any,
        transform: Any,
        model: ModelConfig,
        num_samples: int,
        sample_rate_hz: int,
        num_classes: int,
        max_duration_s: float,
    ) -> None:
        self._mel_decibels = network.get_layer("mel_decibels")
        self._classifier = network.get_layer("classifier")
        self._transform = transform
        self._n_fft, self._hop = model.n_fft, model.hop_length
        self._num_samples, self._rate_hz = num_samples, sample_rate_hz
        self._num_classes, self._max_duration_s = num_classes, max_duration_s
        self._window, self._step = (max(1, round(s * sample_rate_hz / self._hop)) for s in (WINDOW_S, STEP_S))
        self.signature = Answer(
            tf.TensorSpec([num_classes], tf.float32),
            tf.TensorSpec([], tf.float32),
            tf.TensorSpec([], tf.float32),
            tf.TensorSpec([], tf.string),
        )

    def answer(self, sound: Sound) -> Answer:
        """Hears a recording; what is wrong with it is in its answer's `error`, never an exception."""
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
        probabilities, speech, error = tf.cond(readable, lambda: self._hear(sound), lambda: (*self._no_speech(), error))
        return Answer(probabilities, speech, duration_s, error)

    def _no_speech(self) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.fill([self._num_classes], 1.0 / self._num_classes), tf.constant(0.0)

    def _hear(self, sound: Sound) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Probabilities, share of speech, error."""
        survey = _survey(sound)
        finite = tf.math.is_finite(survey.peak)
        probabilities, speech = tf.cond(
            finite & (survey.peak > SILENT_PEAK), lambda: self._classify(self._loud_frames(sound, survey), sound), self._no_speech
        )
        return probabilities, speech, tf.where(finite, "", "samples that are NaN or infinite")

    def _loud_frames(self, sound: Sound, survey: "_Survey") -> tf.Tensor:
        """The mel frames of a recording that are not far below its loud parts: float32 [frames, mel, 1] of decibels."""
        frames = (self._num_samples - self._n_fft) // self._hop + 1
        length = _scaled(sound.samples - survey.anchor, self._rate_hz, sound.rate_hz)
        # Zeros on both sides, so that the first sound and the last are in as many frames as any other.
        chunks = (length + self._n_fft) // (self._hop * frames) + 1

        def hear_chunk(chunk: tf.Tensor) -> tf.Tensor:
            samples = self._resampled(sound, survey.anchor, chunk * frames * self._hop - self._n_fft)
            raw = {examples.PCM16: _pcm16(samples / survey.peak, self._rate_hz), examples.RMS_DBFS: survey.rms_dbfs[tf.newaxis]}
            return self._mel_decibels(self._transform(raw)[WAVEFORM], training=False)[0]

        bands = self._mel_decibels.output_shape[2]
        decibels = _map(hear_chunk, tf.range(chunks), tf.TensorSpec([frames, bands, 1], tf.float32))
        decibels = tf.reshape(decibels, [-1, bands, 1])
        energy = tf.reduce_sum(tf.pow(10.0, (decibels - tf.reduce_max(decibels)) / 10), axis=[1, 2])
        # The energy's own mean: silence, which has none, cannot move it, as it would a mean over frames or a quantile.
        reference = tf.reduce_sum(tf.square(energy)) / tf.reduce_sum(energy)
        return tf.boolean_mask(decibels, energy > reference * 10 ** (-LOUD_RANGE_DB / 10))

    def _resampled(self, sound: Sound, anchor: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
        """What the model's clips are made of: float32 [num_samples] from `start`, at the model's rate, behind the anchor."""
        pieces = -(-self._num_samples // (PIECE_S * self._rate_hz))
        length = -(-self._num_samples // pieces)
        seconds = -(-length // self._rate_hz) + 3

        def read_piece(piece: tf.Tensor) -> tf.Tensor:
            first = start + piece * length
            # Whole seconds, so that both rates have a whole number of samples there, and one more on either side, in
            # which what the circular transform carries from one end to the other dies away.
            begin = tf.math.floordiv(first, self._rate_hz) - 1
            by_second = _map(
                lambda second: _read_behind(sound, anchor, second * sound.rate_hz, sound.rate_hz),
                tf.range(begin, begin + seconds),
                tf.TensorSpec([None], tf.float32),
            )
            samples = resample_seconds(tf.reshape(by_second, [-1]), seconds, sound.rate_hz, self._rate_hz)
            return samples[first - begin * self._rate_hz :][:length]

        parts = _map(read_piece, tf.range(pieces, dtype=tf.int64), tf.TensorSpec([length], tf.float32))
        return tf.reshape(parts, [-1])[: self._num_samples]

    def _classify(self, decibels: tf.Tensor, sound: Sound) -> tuple[tf.Tensor, tf.Tensor]:
        """float32 [frames, mel, 1], the loud frames -> probabilities float32 [classes], share of speech."""
        frames = tf.shape(decibels)[0]
        return tf.cond(frames >= MIN_LOUD_FRAMES, lambda: self._weigh_windows(decibels, frames, sound), self._no_speech)

    def _weigh_windows(self, decibels: tf.Tensor, frames: tf.Tensor, sound: Sound) -> tuple[tf.Tensor, tf.Tensor]:
        length = tf.minimum(frames, self._window)
        last = frames - length
        windows = -(-last // self._step) + 1
        batches = -(-windows // WINDOWS_AT_A_TIME)
        at_a_time = -(-windows // batches)

        def hear_windows(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            starts = tf.minimum((batch * at_a_time + tf.range(at_a_time)) * self._step, last)
            outputs = self._classifier(tf.gather(decibels, starts[:, tf.newaxis] + tf.range(length)), training=False)
            return outputs["logits"], tf.repeat(tf.sigmoid(outputs["speech"]), CELL, axis=1)[:, :length]

        outputs = (tf.TensorSpec([None, self._num_classes], tf.float32), tf.TensorSpec([None, None], tf.float32))
        logits, speech = _map(hear_windows, tf.range(batches), outputs)
        # The last window ends with the recording, and what is left of its batch is the same window again.
        logits, speech = tf.reshape(logits, [-1, self._num_classes])[:windows], tf.reshape(speech, [-1, length])[:windows]
        weights = tf.reduce_sum(speech, axis=1)
        mean = tf.linalg.matvec(logits, weights, transpose_a=True) / tf.maximum(tf.reduce_sum(weights), 1e-6)

        starts = tf.minimum(tf.range(windows) * self._step, last)
        frame = starts[:, tf.newaxis] + tf.range(length)
        times_heard = tf.math.unsorted_segment_sum(tf.ones_like(speech), frame, frames)
        speech_frames = tf.reduce_sum(speech / tf.gather(times_heard, frame))
        all_frames = tf.cast(_scaled(sound.samples, self._rate_hz, sound.rate_hz), tf.float32) / self._hop
        share = tf.minimum(speech_frames / all_frames, 1.0)
        is_speech = speech_frames >= MIN_PURITY * tf.cast(frames, tf.float32)
        return tf.cond(is_speech, lambda: (tf.nn.softmax(mean), share), self._no_speech)


class _Survey(NamedTuple):
    """What has to be known of a recording before any of it can be heard.

    `peak` is that of its samples, infinite where one of them is not finite; `rms_dbfs` is relative to the peak; `anchor` is
    the number of samples before the first sound.
    """

    peak: tf.Tensor
    rms_dbfs: tf.Tensor
    anchor: tf.Tensor


def _survey(sound: Sound) -> _Survey:
    """Reads the recording second by second."""

    def look(second: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        samples = sound.read(second * sound.rate_hz, sound.rate_hz)
        peak = tf.reduce_max(tf.abs(samples))
        # Float samples may be of any size, and the square of a large float32 is not one.
        energy = tf.reduce_sum(tf.square(tf.cast(samples, tf.float64)))
        return tf.where(tf.reduce_all(tf.math.is_finite(samples)), peak, float("inf")), energy

    # One at least, so that nothing has a peak too: 0.
    seconds = tf.maximum((sound.samples + sound.rate_hz - 1) // sound.rate_hz, 1)
    peaks, energies = _map(look, tf.range(seconds), (tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.float64)))
    peak = tf.reduce_max(peaks)
    mean_square = tf.reduce_sum(energies) / tf.cast(tf.maximum(sound.samples, 1), tf.float64)
    relative = tf.cast(mean_square / tf.square(tf.cast(tf.maximum(peak, SILENT_PEAK), tf.float64)), tf.float32)
    rms_dbfs = 10.0 * tf.math.log(tf.maximum(relative, LEVEL_FLOOR_POWER)) / tf.math.log(10.0)
    second = tf.argmax(peaks > ANCHOR_SHARE * peak) * sound.rate_hz
    loud = tf.abs(sound.read(second, sound.rate_hz)) > ANCHOR_SHARE * peak
    return _Survey(peak, rms_dbfs, second + tf.argmax(loud))


def _read_behind(sound: Sound, anchor: tf.Tensor, start: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """As `Sound.read` of the recording from `anchor` on, before which there are zeros."""
    before = tf.clip_by_value(-start, 0, length)
    return tf.pad(sound.read(anchor + start + before, length - before), [[before, 0]])


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


def _pcm16(samples: tf.Tensor, sample_rate_hz: int) -> tf.Tensor:
    """float32 [samples] in [-1, 1] -> string [1], quantised as the generator of clips does."""
    content = tf.audio.encode_wav(samples[:, tf.newaxis], sample_rate_hz)
    return tf.strings.substr(content, WAV_HEADER_BYTES, tf.strings.length(content))[tf.newaxis]


def _scaled(samples: tf.Tensor, to_hz: int, from_hz: tf.Tensor) -> tf.Tensor:
    """How many samples there are at another rate, rounded up."""
    return (samples * to_hz + from_hz - 1) // from_hz


def _map(function: Callable[[tf.Tensor], Any], elements: tf.Tensor, outputs: Any) -> Any:
    # One at a time: several would need several times the memory.
    return tf.map_fn(function, elements, fn_output_signature=outputs, parallel_iterations=1)
