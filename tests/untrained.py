# SPDX-License-Identifier: Apache-2.0
"""Networks of random weights, served."""

import tensorflow as tf
import tf_keras as keras

from beam_jobs import examples
from components.trainer.config import ModelConfig
from components.trainer.network.model import build_model
from components.trainer.network.signatures import ServedModel
from components.transform.preprocessing import WAVEFORM

RATE_HZ, NUM_SAMPLES = 8000, 16_000


def serve_untrained(architecture: str, classes: list[str], **settings: object) -> ServedModel:
    """A network of random weights behind a preprocessing graph as TF Transform's."""
    keras.utils.set_random_seed(4)
    model = ModelConfig.model_validate(
        {
            "architecture": architecture,
            "n_fft": 400,
            "hop_length": 150,
            "n_mels": 32,
            "filters": [4, 8, 8, 8],
            "mel_f_max_hz": 3800,
            **settings,
        }
    )

    @tf.function
    def transform(raw):
        pcm16 = tf.io.decode_raw(raw[examples.PCM16], tf.int16, fixed_length=2 * NUM_SAMPLES)
        gain = tf.pow(10.0, (-25 - raw[examples.RMS_DBFS]) / 20) / 32768
        return {WAVEFORM: tf.ensure_shape(tf.cast(pcm16, tf.float32) * gain[:, tf.newaxis], [None, NUM_SAMPLES])}

    network = build_model(model, NUM_SAMPLES, RATE_HZ, len(classes))
    return ServedModel(network, transform, model, NUM_SAMPLES, RATE_HZ, classes)
