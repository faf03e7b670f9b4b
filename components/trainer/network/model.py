"""The network: raw waveform in, class probabilities out."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf
import tf_keras as keras

from components.trainer.config import ModelConfig
from components.trainer.network.architectures import ARCHITECTURES
from components.trainer.network.front_end import check_input, mel_and_delta

PROTOTYPES_PER_CLASS = 3


class Prototypes(keras.layers.Layer):
    """Class probabilities by the distance of an embedding to learned prototypes, several for each class.

    float32 [batch, channels] -> float32 [batch, classes]: a softmax over the negative squared Euclidean distances to all
    prototypes, summed by class. This is the distance-based cross entropy of Yang et al., "Robust Classification with
    Convolutional Prototype Learning" (CVPR 2018), without their temperature, which the scale of the embedding learns, and
    without their loss term that pulls embeddings towards prototypes. The prototypes of Snell et al., "Prototypical Networks
    for Few-shot Learning" (2017), are instead mean embeddings of a support set, made anew in every episode. With one
    prototype a class this would be a linear softmax layer, because the embedding's own norm cancels.
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
        return tf.nn.softmax(tf.reduce_logsumexp(-distances, axis=-1))


def build_model(model: ModelConfig, num_samples: int, sample_rate_hz: int, num_classes: int) -> keras.Model:
    """Builds the network: kapre mel and delta, the architecture's embedding of the clip, class probabilities.

    The model takes float32 [batch, samples] of any length from two STFT frames on and returns float32
    [batch, num_classes]; `num_samples` is the length of the shortest input that it will meet.

    Raises:
        UserError: that input is shorter than two STFT frames, or the mel bands reach above the Nyquist frequency.
    """
    check_input(model, num_samples, sample_rate_hz)
    waveform = keras.Input([None], name="waveform")
    with precision("float32"):  # sums over long windows, and small differences of large decibels
        features, mask = mel_and_delta(model, waveform, sample_rate_hz)
    embedding = ARCHITECTURES[model.architecture](model, features, mask)
    if model.architecture == "prototype":
        probabilities = Prototypes(num_classes, dtype="float32", name="probabilities")(embedding)
    else:
        probabilities = keras.layers.Dense(num_classes, activation="softmax", dtype="float32", name="probabilities")(embedding)
    return keras.Model(waveform, probabilities, name=model.architecture)


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Layers that are made in the body compute in this Keras policy."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
