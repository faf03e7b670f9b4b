# SPDX-License-Identifier: Apache-2.0
"""What a served model answers to. Every signature goes through the preprocessing graph of training and the same inference."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from components.decision_rule import THRESHOLDS, even_thresholds, over_thresholds
from components.trainer.config import ModelConfig
from components.trainer.network.answers import Answer, Measures
from components.trainer.network.example import open_example
from components.trainer.network.inference import Inference
from components.trainer.network.pooling import DEFAULT_FIT, PoolingFit
from components.trainer.network.portable import PortableInference
from components.trainer.network.sound import Sound, map_in_turn, zeros_around
from components.trainer.network.wav import open_wav


class ServedModel(tf.Module):
    """The network behind its preprocessing, as a SavedModel that needs none of this project's code.

    Each signature but `combine` returns, row by row, `probabilities` float32 [batch, classes], `classes` string
    [batch, classes], the names in the order of the probabilities, `speech` float32 [batch], the share of the recording that
    is speech, `duration_s` float32 [batch], and `error` string [batch], empty where all is well. Where there is no speech or
    an error, probabilities are uniform and `speech` is 0. `label` string [batch] is the class by the decision thresholds, float32
    [batch, classes] in `thresholds`; empty where there is no speech. Names and thresholds are repeated in every row because TF
    Serving and TFMA want all outputs batched.
    """

    def __init__(
        self,
        network: Any,
        transform: Any,
        model: ModelConfig,
        num_samples: int,
        sample_rate_hz: int,
        classes: Sequence[str],
        max_duration_s: float = 3600.0,
        fit: PoolingFit = DEFAULT_FIT,
    ) -> None:
        super().__init__()
        # Only variables are tracked, not the Keras model: its layers would be written with their Keras metadata and
        # loaded as Keras objects, which needs kapre.
        self.weights = list(network.variables)
        self.transform = transform
        of_network = (network, transform, model, num_samples, sample_rate_hz, classes, max_duration_s, fit)
        self._inference, self._portable = Inference(*of_network), PortableInference(*of_network)
        self._sample_rate_hz = sample_rate_hz
        self._classes = list(classes)
        self.thresholds = tf.Variable(
            even_thresholds(len(classes)), trainable=False, dtype=tf.float32, name="decision_thresholds"
        )

    def decide_by(self, thresholds: Sequence[float]) -> None:
        """Sets the decision threshold of each class; they are exported with the model."""
        self.thresholds.assign(thresholds)

    def save(self, folder: str) -> None:
        """Writes the SavedModel with its signatures."""
        signatures = {
            "serving_default": self.serve_examples.get_concrete_function(),
            "wav": self.serve_wav.get_concrete_function(),
            "waveform": self.serve_waveform.get_concrete_function(),
            "waveforms": self.serve_waveforms.get_concrete_function(),
            "timeline": self.serve_timeline.get_concrete_function(),
            "combine": self.serve_combine.get_concrete_function(),
            "measured": self.serve_measured.get_concrete_function(),
        }
        tf.saved_model.save(self, folder, signatures=signatures)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False)
    def serve_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers for serialized tf.Examples that hold at least `audio/pcm16`; without `audio/sample_rate`, the model's."""
        return self._answer(tf.size(examples), lambda index: open_example(examples[index], self._sample_rate_hz))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="wav")], autograph=False)
    def serve_wav(self, wav: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers for WAV files of any length, sample rate and number of channels within the bounds."""
        answers = self.serve_timeline(wav)  # one graph of what is heard serves three signatures
        return {name: value for name, value in answers.items() if not name.startswith("step_") and name not in Measures._fields}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="waveform")], autograph=False)
    def serve_waveform(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers for waveforms at the model's sample rate."""
        return self.serve_waveforms(waveform, tf.repeat(tf.shape(waveform, tf.int64)[1:], tf.shape(waveform)[0]))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.float32, name="waveform"),
            tf.TensorSpec([None], tf.int64, name="lengths"),
        ],
        autograph=False,
    )
    def serve_waveforms(self, waveform: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers for waveforms of unequal lengths, of each of which only the first `lengths` samples count."""
        return self._answer(
            tf.shape(waveform)[0], lambda index: open_waveform(waveform[index], lengths[index], self._sample_rate_hz)
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="wav")], autograph=False)
    def serve_timeline(self, wav: tf.Tensor) -> dict[str, tf.Tensor]:
        """Answers for WAV files, and of the same windows for each half second of them.

        `step_probabilities` float32 [batch, steps, classes]; `step_speech` float32 [batch, steps], the share of each step that is
        speech; for `combine` `step_pooled` and `step_weights`; and of the whole the `Measures`. Rows of shorter recordings end in
        zeros.
        """
        inference = self._inference

        def answer(index: tf.Tensor) -> dict[str, Any]:
            answer, probabilities, steps, measures = inference.answer_and_measure(open_wav(wav, index))
            return (
                answer._asdict()
                | measures._asdict()
                | {
                    "step_probabilities": probabilities,
                    "step_speech": steps.speech,
                    "step_pooled": steps.pooled,
                    "step_weights": steps.weights,
                }
            )

        def by_step(*shape: int) -> tf.RaggedTensorSpec:
            return tf.RaggedTensorSpec([None, *shape], tf.float32, ragged_rank=0)

        outputs = (
            inference.signature._asdict()
            | inference.measures_signature._asdict()
            | {
                "step_probabilities": by_step(len(self._classes)),
                "step_speech": by_step(),
                "step_pooled": by_step(inference.num_pooled),
                "step_weights": by_step(),
            }
        )
        answers = map_in_turn(answer, tf.range(tf.size(wav)), outputs)
        filled = {name: value.to_tensor() if name.startswith("step_") else value for name, value in answers.items()}
        return self._decided(filled, filled["speech"])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="wav")], autograph=False)
    def serve_measured(self, wav: tf.Tensor) -> dict[str, tf.Tensor]:
        """What `wav` answers, and what each recording is like: its `Measures`, for whoever watches a model at work."""
        return {name: value for name, value in self.serve_timeline(wav).items() if not name.startswith("step_")}

    def measure_example(self, example: bytes) -> dict[str, tf.Tensor]:
        """What `serve_measured` gives, of a serialized tf.Example; it is not exported."""

        @tf.function(autograph=False)
        def measure() -> tuple[Answer, Measures]:
            answer, _, _, measures = self._inference.answer_and_measure(open_example(tf.constant(example), self._sample_rate_hz))
            return answer, measures

        answer, measures = measure()
        batch = {name: value[tf.newaxis] for name, value in (answer._asdict() | measures._asdict()).items()}
        return self._decided(batch, batch["speech"])

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None], tf.float32, name="step_pooled"),
            tf.TensorSpec([None, None], tf.float32, name="step_weights"),
        ],
        autograph=False,
    )
    def serve_combine(self, step_pooled: tf.Tensor, step_weights: tf.Tensor) -> dict[str, tf.Tensor]:
        """`probabilities` of recordings too long to be heard at once, of what `timeline` gave for their parts.

        Of one part alone they are those of its own answer, where that is speech.
        """
        inference = self._inference
        probabilities = map_in_turn(
            lambda row: inference.combined(*row),
            (tf.ensure_shape(step_pooled, [None, None, inference.num_pooled]), step_weights),
            inference.signature.probabilities,
        )
        return self._decided({"probabilities": probabilities}, tf.reduce_sum(step_weights, axis=1))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="waveform")], autograph=False)
    def portable(self, waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        """`probabilities`, `speech` and `label` of one waveform, of built-in operators only, for `components.export`.

        Here `label` is the number of the class, int32; -1 where there is no speech. It is not a signature.
        """
        answer = self._portable.answer_waveform(waveform)
        return answer | {"label": tf.where(answer["speech"] > 0, self._choose(answer["probabilities"]), -1)}

    def _choose(self, probabilities: tf.Tensor) -> tf.Tensor:
        """float32 [..., classes] -> int32 [...]: the number of the class."""
        return tf.argmax(over_thresholds(probabilities, self.thresholds), axis=-1, output_type=tf.int32)

    def _decided(self, answers: dict[str, tf.Tensor], speech: tf.Tensor) -> dict[str, tf.Tensor]:
        """The answers with what does not hang on the recording, and the label; without one where `speech`, [batch], is 0."""
        names = tf.gather(tf.constant(self._classes), self._choose(answers["probabilities"]))
        size = tf.size(speech)
        return answers | {
            "classes": tf.repeat(tf.constant([self._classes]), size, axis=0),
            THRESHOLDS: tf.repeat(self.thresholds[tf.newaxis], size, axis=0),
            "label": tf.where(speech > 0, names, ""),
        }

    def _answer(self, size: tf.Tensor, open_sound: Callable[[tf.Tensor], Sound]) -> dict[str, tf.Tensor]:
        # One after the other: each may be long, and none must be able to spoil another.
        answers = map_in_turn(lambda index: self._inference.answer(open_sound(index)), tf.range(size), self._inference.signature)
        return self._decided(answers._asdict(), answers.speech)


def open_waveform(waveform: tf.Tensor, length: tf.Tensor, sample_rate_hz: int) -> Sound:
    """The first `length` of float32 [samples]."""
    samples = tf.size(waveform, tf.int64)
    bad_length = (length < 0) | (length > samples)
    error = tf.where(bad_length, tf.strings.format("length {}, and the waveform holds {} samples", (length, samples)), "")
    length = tf.clip_by_value(length, 0, samples)

    read = zeros_around(lambda first, size: waveform[first : first + size], length)
    return Sound(read, length, tf.constant(sample_rate_hz, tf.int64), error)
