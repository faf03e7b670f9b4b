from functools import cache

import librosa
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tf_keras as keras

from beam_jobs.errors import UserError
from components.trainer.config import ModelConfig, TrainConfig
from components.trainer.input.batches import random_crop
from components.trainer.network.architectures import ARCHITECTURES
from components.trainer.network.front_end import DYNAMIC_RANGE_DB
from components.trainer.network.model import Prototypes, build_model
from components.trainer.network.signatures import ServedModel
from components.trainer.training import fit

SAMPLE_RATE_HZ = 22050


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


def test_kapre_mel_equals_librosa(model, speech):
    config = ModelConfig()
    ours = model.get_layer("mel_decibels")(speech[..., np.newaxis]).numpy()[0, :, :, 0].T

    mel = librosa.feature.melspectrogram(
        y=speech[0],
        sr=SAMPLE_RATE_HZ,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
        fmin=config.mel_f_min_hz,
        fmax=config.mel_f_max_hz,
        power=1.0,
        center=False,
    )
    assert ours == pytest.approx(librosa.power_to_db(mel, amin=1e-5, top_db=DYNAMIC_RANGE_DB), abs=1e-3)


def test_conv3d_is_the_articles_design(model):
    kinds = [type(layer).__name__ for layer in model.layers]

    assert kinds.count("Conv3D") == kinds.count("BatchNormalization") == kinds.count("SpatialDropout3D") == 4
    assert {"Delta", "Frame"} <= set(kinds)


def test_the_delta_channel_follows_librosa(model, speech):
    mel = keras.Model(model.input, model.get_layer("mel").output)(speech).numpy()[0, :, :, 0]
    delta = keras.Model(model.input, model.get_layer("mel_delta").output)(speech).numpy()[0, :, :, 0]

    expected = librosa.feature.delta(mel, width=5, axis=0)

    assert delta[2:-2] == pytest.approx(expected[2:-2], abs=1e-3)


def test_the_parameter_budget(network):
    assert network.count_params() <= 400_000


@pytest.mark.parametrize("samples", [1024 + 512, 5000, SAMPLE_RATE_HZ * 3])
def test_any_length_gives_probabilities(network, samples):
    probabilities = network(tf.random.normal([2, samples], seed=1)).numpy()

    assert probabilities.shape == (2, 2)
    assert probabilities.dtype == np.float32
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_loudness_changes_nothing(network, speech):
    assert network(speech * 0.3).numpy() == pytest.approx(network(speech).numpy(), abs=1e-3)


def test_total_silence_gives_finite_probabilities(network):
    assert np.isfinite(network(np.zeros([1, SAMPLE_RATE_HZ], np.float32)).numpy()).all()


def test_the_gradient_reaches_every_weight(network, speech):
    with tf.GradientTape() as tape:
        loss = -tf.math.log(network(np.tile(speech, [2, 1]), training=True)[:, 0])
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


@pytest.mark.parametrize("seconds", [(0, 20), (20, 0)], ids=["behind", "before"])
def test_silence_around_the_voices_hardly_matters(learned, make_voice, seconds):
    small, _ = learned
    voices = np.stack([make_voice(0, 60), make_voice(1, 61)])[:, :9000]

    answers = small(np.pad(voices, [(0, 0), [8000 * value for value in seconds]])).numpy()

    assert answers == pytest.approx(small(voices).numpy(), abs=0.05)


def test_the_crnn_is_served_as_it_is_in_memory(learn, make_voice, transform_graph, tmp_path):
    small, _ = learn("crnn")
    voices = np.stack([make_voice(0, 60), make_voice(1, 61)])
    transform = tft.TFTransformOutput(str(transform_graph)).transform_features_layer()

    ServedModel(small, transform, voices.shape[1], 8000, ["male", "female"]).save(str(tmp_path))
    served = tf.saved_model.load(str(tmp_path)).signatures["waveform"](tf.constant(voices))

    assert served["probabilities"].numpy() == pytest.approx(small(voices).numpy(), abs=1e-2)


def test_prototypes_are_compared_by_distance_and_summed_by_class():
    layer = Prototypes(2)
    layer.build(tf.TensorShape([None, 1]))
    layer.set_weights([np.array([[[0.0], [1.0], [9.0]], [[2.0], [9.0], [9.0]]], np.float32)])

    male = 1 + np.exp(-1)
    female = np.exp(-4)
    assert layer(tf.zeros([1, 1])).numpy() == pytest.approx(np.array([[male, female]]) / (male + female), abs=1e-6)


def test_a_clip_shorter_than_a_frame_is_refused():
    with pytest.raises(UserError, match="two STFT frames take"):
        build_model(ModelConfig(n_fft=2048), 2000, SAMPLE_RATE_HZ, 2)


def test_mel_bands_above_nyquist_are_refused():
    with pytest.raises(UserError, match=r"mel_f_max_hz 5000 is above half of clips.sample_rate_hz 8000"):
        build_model(ModelConfig(mel_f_max_hz=5000.0), 8000, 8000, 2)


def test_crops_hold_speech():
    waveform = np.zeros([1, 10_000], np.float32)
    waveform[0, 7000:7200] = 1

    for seed in range(20):
        crop = random_crop(tf.constant(waveform), 1000, 100, tf.constant([seed, 1], tf.int64)).numpy()
        assert crop.shape == (1, 1000)
        assert crop.any()


def test_crops_differ_by_seed_and_only_by_seed():
    waveform = tf.random.normal([4, 5000], seed=1)

    first, again, other = (random_crop(waveform, 500, 100, tf.constant([seed, 0], tf.int64)) for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
