"""What a served model answers to. Every signature goes through the preprocessing graph of training."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from beam_jobs import examples
from beam_jobs.silence import LEVEL_FLOOR_POWER
from components.trainer.input.batches import RAW_FEATURES
from components.transform.preprocessing import WAVEFORM

Network = Callable[[tf.Tensor], tf.Tensor]

WAV_HEADER_BYTES = 44
"""Length of the header that tf.audio.encode_wav writes (RIFF, fmt and data chunks)."""


class ServedModel(tf.Module):
    """The network behind its preprocessing, as a SavedModel that needs none of this project's code.

    Each signature returns `probabilities` float32 [batch, classes] and `classes` string [batch, classes], the names in
    the order of the probabilities. They are repeated in every row because TF Serving and TFMA want all outputs batched.
    """

    def __init__(self, network: Any, transform: Any, num_samples: int, sample_rate_hz: int, classes: Sequence[str]) -> None:
        super().__init__()
        # Only variables are tracked, not the Keras model: its layers would be written with their Keras metadata and
        # loaded as Keras objects, which needs kapre.
        self.weights = list(network.variables)
        self.transform = transform
        self._network: Network = lambda waveform: network(waveform, training=False)
        self._num_samples = num_samples
        self._sample_rate_hz = sample_rate_hz
        self._classes = list(classes)

    def save(self, folder: str) -> None:
        """Writes the SavedModel with its three signatures."""
        signatures = {
            "serving_default": self.serve_examples.get_concrete_function(),
            "wav": self.serve_wav.get_concrete_function(),
            "waveform": self.serve_waveform.get_concrete_function(),
        }
        tf.saved_model.save(self, folder, signatures=signatures)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers for serialized tf.Examples of clips; the label may be missing."""
        return self._outputs(self._predict(tf.io.parse_example(examples, RAW_FEATURES)))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="wav")])
    def serve_wav(self, wav: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers for 16-bit PCM WAV files of any length, sample rate and number of channels."""
        return self._outputs(self._map(lambda content: self._predict_windows(self._decode_wav(content)), wav))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="waveform")])
    def serve_waveform(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers for waveforms of any length at the model's sample rate, full scale 1.0."""
        return self._outputs(self._map(self._predict_windows, waveform))

    def _outputs(self, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        names = tf.constant([self._classes])
        return {"probabilities": probabilities, "classes": tf.repeat(names, tf.shape(probabilities)[0], axis=0)}

    def _predict(self, raw: dict[str, tf.Tensor]) -> tf.Tensor:
        return self._network(self.transform(raw)[WAVEFORM])

    def _map(self, function: Callable[[tf.Tensor], tf.Tensor], elements: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(function, elements, fn_output_signature=tf.TensorSpec([len(self._classes)], tf.float32))

    def _predict_windows(self, waveform: tf.Tensor) -> tf.Tensor:
        """float32 [samples] -> float32 [classes]: the mean over windows of a clip's length, weighted by real length."""
        # A window at a time: an hour of audio must not need the memory of an hour of activations.
        samples = tf.maximum(tf.size(waveform), 1)
        windows = tf.signal.frame(waveform, self._num_samples, self._num_samples, pad_end=True)
        windows = tf.cond(tf.size(windows) > 0, lambda: windows, lambda: tf.zeros([1, self._num_samples]))
        starts = tf.range(tf.shape(windows)[0]) * self._num_samples
        weights = tf.cast(tf.minimum(samples - starts, self._num_samples), tf.float32)
        probabilities = self._map(lambda window: self._predict(self._raw_features(window))[0], windows)
        return tf.linalg.matvec(probabilities, weights, transpose_a=True) / tf.reduce_sum(weights)

    def _raw_features(self, window: tf.Tensor) -> dict[str, tf.Tensor]:
        """float32 [num_samples] -> what a record of that clip would hold, batch of 1, quantised as the generator does."""
        content = tf.audio.encode_wav(window[:, tf.newaxis], self._sample_rate_hz)
        pcm16 = tf.strings.substr(content, WAV_HEADER_BYTES, 2 * self._num_samples)
        samples = tf.cast(tf.io.decode_raw(pcm16, tf.int16), tf.float32) / 32768.0
        rms_dbfs = 10.0 * tf.math.log(tf.maximum(tf.reduce_mean(tf.square(samples)), LEVEL_FLOOR_POWER)) / tf.math.log(10.0)
        return {examples.PCM16: pcm16[tf.newaxis], examples.RMS_DBFS: rms_dbfs[tf.newaxis]}

    def _decode_wav(self, content: tf.Tensor) -> tf.Tensor:
        audio, sample_rate_hz = tf.audio.decode_wav(content)
        return resample(tf.reduce_mean(audio, axis=1), sample_rate_hz, self._sample_rate_hz)


def resample(waveform: tf.Tensor, from_hz: tf.Tensor, to_hz: int) -> tf.Tensor:
    """Resamples by cutting or padding the spectrum: float32 [samples] -> float32 [samples * to_hz / from_hz]."""
    samples = tf.size(waveform)

    def by_spectrum() -> tf.Tensor:
        # Whole seconds keep the ratio of both lengths exact, and the silent second at the end keeps the circular
        # transform from carrying the end of the recording into its beginning.
        seconds = (samples + from_hz - 1) // from_hz + 1
        spectrum = tf.signal.rfft(tf.pad(waveform, [[0, seconds * from_hz - samples]]))
        length = seconds * to_hz
        bins = length // 2 + 1
        spectrum = tf.pad(spectrum[:bins], [[0, tf.maximum(bins - tf.size(spectrum), 0)]])
        resampled = tf.signal.irfft(spectrum, [length]) * (tf.cast(to_hz, tf.float32) / tf.cast(from_hz, tf.float32))
        return resampled[: tf.cast(tf.round(samples / from_hz * to_hz), tf.int32)]

    return tf.cond(tf.equal(from_hz, to_hz), lambda: waveform, by_spectrum)
