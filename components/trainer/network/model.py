# SPDX-License-Identifier: Apache-2.0
"""The network: raw waveform in; class probabilities out, and where it hears speech."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
import tf_keras as keras

from components.trainer.config import CELL, ModelConfig
from components.trainer.network.architectures import ARCHITECTURES
from components.trainer.network.augmentation import MelMask, RandomConditions
from components.trainer.network.front_end import check_input, mel_and_delta, mel_decibels

PROTOTYPES_PER_CLASS = 3
SPEECH_RANGE_DB = 30.0
"""A frame of a clean clip this far below its loudest is taken for a pause, when the speech detector is taught."""
SPEECH_LOSS_WEIGHT = 0.3
LEAST_WEIGHT = 1e-3
"""Of a cell that is not speech at all, so that a clip without any has a mean."""


class Prototypes(keras.layers.Layer):
    """Class logits by the distance of an embedding to learned prototypes, several for each class.

    float32 [batch, channels] -> float32 [batch, classes]: the log of the sum over a class's prototypes of the exponential of
    the negative squared Euclidean distance. With the softmax behind it, this is the distance-based cross entropy of Yang et al.,
    "Robust Classification with Convolutional Prototype Learning" (CVPR 2018), without their temperature, which the scale of the
    embedding learns, and without their loss term that pulls embeddings towards prototypes. The prototypes of Snell et al.,
    "Prototypical Networks for Few-shot Learning" (2017), are instead mean embeddings of a support set, made anew in every
    episode. With one prototype a class this would be a linear layer, because the embedding's own norm cancels.
    """

    def __init__(self, num_classes: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._num_classes = num_classes

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the prototypes: float32 [classes, prototypes, channels]."""
        shape = [self._num_classes, PROTOTYPES_PER_CLASS, input_shape[-1]]
        self.prototypes = self.add_weight("prototypes", shape, initializer=keras.initializers.RandomNormal(stddev=0.5))
        super().build(input_shape)

    def call(self, embedding: tf.Tensor) -> tf.Tensor:
        """Compares each embedding with all prototypes."""
        distances = tf.reduce_sum(tf.square(embedding[:, tf.newaxis, tf.newaxis] - self.prototypes), axis=-1)
        return tf.reduce_logsumexp(-distances, axis=-1)


class SpeechStatistics(keras.layers.Layer):
    """Mean and deviation over time, each cell weighed by how sure the speech detector is of it.

    Takes (cells float32 [batch, cells, channels], speech logits float32 [batch, cells]); returns float32 [batch, 2 * channels].
    The detector learns from its own loss alone.
    """

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Weighs the moments."""
        cells, speech = inputs
        weight = tf.expand_dims(tf.stop_gradient(tf.sigmoid(speech)) + LEAST_WEIGHT, axis=-1)
        mean, variance = tf.nn.weighted_moments(cells, axes=[1], frequency_weights=weight)
        return tf.concat([mean, tf.sqrt(variance + 1e-4)], axis=-1)


class SpeechTarget(keras.layers.Layer):
    """What the speech detector is taught: the share of each cell's frames that are no pause, seen before noise is added.

    float32 [batch, time, mel, 1] of mel decibels -> float32 [batch, cells].
    """

    def call(self, decibels: tf.Tensor) -> tf.Tensor:
        """Compares each frame's loudest band with the clip's."""
        level = tf.reduce_max(decibels[..., 0], axis=2)
        speech = tf.cast(level > tf.reduce_max(level, axis=1, keepdims=True) - SPEECH_RANGE_DB, tf.float32)
        return tf.nn.avg_pool1d(speech[:, :, tf.newaxis], CELL, CELL, "SAME")[:, :, 0]


class ClipNetwork(keras.Model):
    """A keras.Model that learns classes and speech together, from one label a clip; -1 is a clip that is not speech.

    Its outputs are a dictionary: `probabilities` float32 [batch, classes], `speech` float32 [batch, cells], the logits of the
    speech detector, and `speech_target`, what they should have been had all clips been speech.
    """

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None) -> tf.Tensor:
        """The compiled loss of the clips that are speech, and the speech detector's cross entropy on all."""
        is_speech = _is_speech(y)
        target = y_pred["speech_target"] * is_speech[:, tf.newaxis]
        speech_loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(target, y_pred["speech"]))
        others = [*self.losses, SPEECH_LOSS_WEIGHT * speech_loss]
        return self.compiled_loss(y, y_pred["probabilities"], is_speech, regularization_losses=others)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, tf.Tensor]:
        """Of the clips that are speech."""
        self.compiled_metrics.update_state(y, y_pred["probabilities"], _is_speech(y))
        return self.get_metrics_result()

    def get_metrics_result(self) -> dict[str, tf.Tensor]:
        """The whole loss, and the accuracy, which Keras would call by the output's name.

        Here and nowhere else: with several replicas Keras adds up what a step returns, unless its names are those of this method.
        """
        values = super().get_metrics_result()
        return {"loss": values["loss"], "accuracy": values["probabilities_accuracy"]}


def build_model(
    model: ModelConfig, num_samples: int, sample_rate_hz: int, num_classes: int, not_speech_rows: int = 0
) -> ClipNetwork:
    """Builds the network: kapre's mel decibels, what training does to them, and the classifier.

    The model takes float32 [batch, samples] of any length from two STFT frames on. Its layers `mel_decibels` and `classifier`
    are models themselves, so that a recording can be heard window by window: the first turns a waveform into float32
    [batch, time, mel, 1], the second those into a dictionary of `logits` float32 [batch, classes], `speech`, the speech
    detector's logits, float32 [batch, cells], and `embedding` float32 [batch, 2 * model.embedding], what the logits are made of.

    Args:
        model: the settings.
        num_samples: length of the shortest input that it will meet.
        sample_rate_hz: of all input.
        num_classes: of the labels.
        not_speech_rows: how many clips at the start of each training batch are not speech.

    Raises:
        UserError: that input is shorter than two STFT frames, or the mel bands reach above the Nyquist frequency.
    """
    check_input(model, num_samples, sample_rate_hz)
    waveform = keras.Input([None], name="waveform")
    with precision("float32"):  # sums over long windows, and small differences of large decibels
        decibels = mel_decibels(model, sample_rate_hz)(waveform)
        target = SpeechTarget(name="speech_target")(decibels)
        heard = RandomConditions(model.augment, not_speech_rows, name="conditions")(decibels)
    answer = build_classifier(model, num_classes)(heard)
    outputs = {
        "probabilities": keras.layers.Softmax(dtype="float32", name="probabilities")(answer["logits"]),
        "speech": answer["speech"],
        "speech_target": target,
    }
    return ClipNetwork(waveform, outputs, name=model.architecture)


def build_classifier(model: ModelConfig, num_classes: int) -> keras.Model:
    """Mel decibels float32 [batch, time, mel, 1], two frames at least -> `logits`, `speech`, `embedding`, as in `build_model`."""
    layers = keras.layers
    decibels = keras.Input([None, model.n_mels, 1], name="heard")
    with precision("float32"):
        features = MelMask(model.augment, name="mel_mask")(mel_and_delta(decibels))
    cells = ARCHITECTURES[model.architecture](model, features)
    cells = layers.SpatialDropout1D(model.dropout / 2, name="cells_dropout")(cells)
    for name, layer in (
        ("dense", layers.Dense(model.embedding, use_bias=False, name="dense")),
        ("context", layers.Conv1D(model.embedding, 3, padding="same", use_bias=False, name="context")),
    ):
        cells = layers.BatchNormalization(momentum=0.95, name=f"{name}_norm")(layer(cells))
        cells = layers.ReLU(name=f"{name}_relu")(cells)
    speech = layers.Dense(1, bias_initializer=keras.initializers.Constant(1.0), dtype="float32", name="speech")(cells)[:, :, 0]
    # Many cells are summed, which the eight bits of a bfloat16 cannot hold.
    embedding = SpeechStatistics(dtype="float32", name="statistics")([tf.cast(cells, tf.float32), speech])
    dropped = layers.Dropout(model.dropout, dtype="float32", name="embedding_dropout")(embedding)
    head = Prototypes if model.architecture == "prototype" else layers.Dense
    logits = head(num_classes, dtype="float32", name="logits")(dropped)
    return keras.Model(decibels, {"logits": logits, "speech": speech, "embedding": embedding}, name="classifier")


def _is_speech(label: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.reshape(label, [-1]) >= 0, tf.float32)


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Layers that are made in the body compute in this Keras policy."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
