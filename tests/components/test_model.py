import librosa
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from beam_jobs.errors import UserError
from components.trainer.config import ModelConfig
from components.trainer.data import random_crop
from components.trainer.front_end import DYNAMIC_RANGE_DB
from components.trainer.model import build_model

SAMPLE_RATE_HZ = 22050


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(7)
    return build_model(ModelConfig(), 6 * SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, 2)


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


def test_article_design_within_the_parameter_budget(model):
    kinds = [type(layer).__name__ for layer in model.layers]

    assert model.count_params() <= 400_000
    assert kinds.count("Conv3D") == kinds.count("BatchNormalization") == kinds.count("SpatialDropout3D") == 4
    assert {"Delta", "Frame"} <= set(kinds)


def test_the_delta_channel_follows_librosa(model, speech):
    mel = keras.Model(model.input, model.get_layer("mel").output)(speech).numpy()[0, :, :, 0]
    delta = keras.Model(model.input, model.get_layer("mel_delta").output)(speech).numpy()[0, :, :, 0]

    expected = librosa.feature.delta(mel, width=5, axis=0)

    assert delta[2:-2] == pytest.approx(expected[2:-2], abs=1e-3)


@pytest.mark.parametrize("samples", [1024 + 512, 5000, SAMPLE_RATE_HZ * 3])
def test_any_length_gives_probabilities(model, samples):
    probabilities = model(tf.random.normal([2, samples], seed=1)).numpy()

    assert probabilities.shape == (2, 2)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_loudness_changes_nothing(model, speech):
    assert model(speech * 0.3).numpy() == pytest.approx(model(speech).numpy(), abs=1e-3)


def test_silence_behind_the_voices_hardly_matters(model, speech):
    long = np.pad(speech, [(0, 0), (0, 20 * SAMPLE_RATE_HZ)])

    assert model(long).numpy() == pytest.approx(model(speech).numpy(), abs=0.02)


def test_total_silence_gives_finite_probabilities(model):
    assert np.isfinite(model(np.zeros([1, SAMPLE_RATE_HZ], np.float32)).numpy()).all()


def test_a_clip_shorter_than_a_frame_is_refused():
    with pytest.raises(UserError, match="shorter than one STFT frame"):
        build_model(ModelConfig(n_fft=2048), 2000, SAMPLE_RATE_HZ, 2)


def test_mel_bands_above_nyquist_are_refused():
    with pytest.raises(UserError, match="ends at 4000 Hz"):
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
