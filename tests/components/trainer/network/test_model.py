# SPDX-License-Identifier: Apache-2.0
from functools import cache

import librosa
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from beam_jobs.errors import UserError
from components.trainer.config import CELL, AugmentConfig, ModelConfig, TrainConfig
from components.trainer.network.architectures import ARCHITECTURES
from components.trainer.network.model import SPEECH_LOSS_WEIGHT, Prototypes, build_model
from components.trainer.network.signatures import ServedModel
from components.trainer.training import compile_model, fit

SAMPLE_RATE_HZ = 22050
OFF = AugmentConfig(equalizer_db=0, noise_share=0, background_share=0, band_limit_share=0, mask_share=0)


def build(architecture):
    keras.utils.set_random_seed(7)
    return build_model(ModelConfig(architecture=architecture), 6 * SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, 2)


@pytest.fixture(scope="module")
def model():
    return build("conv3d")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def network(request):
    return build(request.param)


@pytest.fixture(scope="module")
def learn(model_section, make_voice):
    """A function that teaches a small network the pitch of the tiny voices, at 8 kHz; with it, the losses of its epochs."""
    voices = np.stack([make_voice(seed % 2, seed) for seed in range(48)])
    labels = np.arange(48) % 2
    train = tf.data.Dataset.from_tensor_slices((voices[:32], labels[:32])).shuffle(32, seed=7).batch(8)
    evaluation = tf.data.Dataset.from_tensor_slices((voices[32:], labels[32:])).batch(8)

    @cache
    def learn(architecture):
        keras.utils.set_random_seed(7)
        small = build_model(ModelConfig(**model_section, architecture=architecture), 8000, 8000, 2)
        config = TrainConfig(epochs=6, learning_rate=1e-2)
        return small, fit(small, config, train, evaluation, 2).history

    return learn


@pytest.fixture(params=ARCHITECTURES)
def learned(request, learn):
    return learn(request.param)


@pytest.fixture(scope="module")
def speech(make_voice):
    return make_voice(1, 3, 2 * SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)[np.newaxis]


def inside(model, name):
    """The classifier of a network, up to the layer `name`."""
    classifier = model.get_layer("classifier")
    return keras.Model(classifier.input, classifier.get_layer(name).output)


def test_kapre_mel_equals_librosa(model, speech):
    config = ModelConfig()
    ours = model.get_layer("mel_decibels")(speech).numpy()[0, :, :, 0].T

    mel = librosa.feature.melspectrogram(
        y=speech[0],
        sr=SAMPLE_RATE_HZ,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
        fmin=config.mel_f_min_hz,
        fmax=7600,
        center=False,
    )
    assert ours == pytest.approx(librosa.power_to_db(mel, amin=1e-10, top_db=None), abs=2e-3)


def test_conv3d_is_the_articles_design(model):
    kinds = [type(layer).__name__ for layer in model.get_layer("classifier").layers]

    assert kinds.count("Conv3D") == 4
    assert {"Delta", "Frame"} <= set(kinds)


def test_the_delta_channel_follows_librosa(model, speech):
    decibels = model.get_layer("mel_decibels")(speech)
    mel, delta = (inside(model, name)(decibels).numpy()[0, :, :, 0] for name in ("mel", "delta"))

    expected = librosa.feature.delta(mel, width=5, axis=0)

    assert delta[2:-2] == pytest.approx(expected[2:-2], abs=1e-3)


def test_the_parameter_budget(network):
    assert network.count_params() <= 400_000


@pytest.mark.parametrize("samples", [512 + 320, 5000, SAMPLE_RATE_HZ * 3])
def test_any_length_gives_probabilities_and_a_speech_logit_for_each_cell(network, samples):
    answer = network(tf.random.normal([2, samples], seed=1))
    probabilities, speech = answer["probabilities"].numpy(), answer["speech"].numpy()

    assert probabilities.shape == (2, 2)
    assert probabilities.dtype == np.float32
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    frames = (samples - 512) // 320 + 1
    assert speech.shape == answer["speech_target"].shape == (2, -(-frames // CELL))


def test_loudness_changes_nothing(network, speech):
    quiet, loud = (network(speech * gain)["probabilities"].numpy() for gain in (0.3, 1))

    assert quiet == pytest.approx(loud, abs=1e-3)


def test_total_silence_gives_finite_probabilities(network):
    assert np.isfinite(network(np.zeros([1, SAMPLE_RATE_HZ], np.float32))["probabilities"].numpy()).all()


def test_pauses_are_no_speech_to_be_learned(model, speech):
    paused = np.pad(speech, [(0, 0), (0, SAMPLE_RATE_HZ)])

    target = model(paused)["speech_target"].numpy()[0]

    cells_a_second = SAMPLE_RATE_HZ / 320 / CELL
    assert target[: int(1.4 * cells_a_second)].mean() > 0.9  # a quarter of the voice's own two seconds is silence
    assert target[int(1.7 * cells_a_second) :].max() == 0


def test_a_sound_that_is_not_speech_teaches_the_detector_alone(speech):
    small = build_model(ModelConfig(filters=[4, 4, 4, 4], augment=OFF, dropout=0.0), 8000, SAMPLE_RATE_HZ, 2)
    compile_model(small, TrainConfig(label_smoothing=0.1), 2)

    def losses(*labels):
        clips = np.tile(speech, [len(labels), 1])
        return small.evaluate(clips, np.array(labels), verbose=0, return_dict=True)

    voices, voice_and_sound = losses(1, 1), losses(1, -1)
    assert voices["accuracy"] == voice_and_sound["accuracy"]
    answer = small(speech)
    logits = answer["speech"].numpy()[0]
    detector = [np.mean(np.logaddexp(0, logits) - target * logits) for target in (answer["speech_target"].numpy()[0], 0)]
    classes = voices["loss"] - SPEECH_LOSS_WEIGHT * detector[0]
    assert voice_and_sound["loss"] == pytest.approx(classes / 2 + SPEECH_LOSS_WEIGHT * np.mean(detector), abs=1e-4)


def test_the_gradient_reaches_every_weight(network, speech):
    with tf.GradientTape() as tape:
        answer = network(np.tile(speech, [2, 1]), training=True)
        loss = tf.reduce_sum(tf.math.log(answer["probabilities"][:, 0])) + tf.reduce_sum(answer["speech"])
    gradients = tape.gradient(loss, network.trainable_variables)

    assert [
        variable.name
        for variable, gradient in zip(network.trainable_variables, gradients, strict=True)
        if gradient is None or not np.any(gradient)
    ] == []


def test_it_learns_the_pitch_quickly(learned):
    _, losses = learned

    assert losses["loss"][-1] < 0.7 * losses["loss"][0]
    assert max(losses["val_accuracy"]) >= 0.9


@pytest.mark.slow
def test_the_crnn_is_served_as_it_is_in_memory(learn, model_section, make_voice, transform_graph, tmp_path):
    small, _ = learn("crnn")
    voices = np.stack([make_voice(0, 60), make_voice(1, 61)])
    transform = tft.TFTransformOutput(str(transform_graph)).transform_features_layer()
    config = ModelConfig(**model_section, architecture="crnn")
    model = ServedModel(small, transform, config, voices.shape[1], 8000, ["male", "female"])

    model.save(str(tmp_path))
    served = tf.saved_model.load(str(tmp_path)).signatures["waveform"](tf.constant(voices))["probabilities"].numpy()

    assert served == pytest.approx(model.serve_waveform(voices)["probabilities"].numpy(), abs=1e-5)
    assert served.argmax(axis=1).tolist() == small(voices)["probabilities"].numpy().argmax(axis=1).tolist()


def test_prototypes_are_compared_by_distance_and_summed_by_class():
    layer = Prototypes(2)
    layer.build(tf.TensorShape([None, 1]))
    layer.set_weights([np.array([[[0.0], [1.0], [9.0]], [[2.0], [9.0], [9.0]]], np.float32)])

    male = 1 + np.exp(-1)
    female = np.exp(-4)
    assert tf.nn.softmax(layer(tf.zeros([1, 1]))).numpy() == pytest.approx(np.array([[male, female]]) / (male + female), abs=1e-6)


def test_a_clip_shorter_than_a_frame_is_refused():
    with pytest.raises(UserError, match="two STFT frames take"):
        build_model(ModelConfig(n_fft=2048), 2000, SAMPLE_RATE_HZ, 2)


def test_mel_bands_above_nyquist_are_refused():
    with pytest.raises(UserError, match=r"mel_f_max_hz 5000 is above half of clips.sample_rate_hz 8000"):
        build_model(ModelConfig(mel_f_max_hz=5000.0), 8000, 8000, 2)
