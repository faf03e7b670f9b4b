# SPDX-License-Identifier: Apache-2.0
"""What training does to spectrograms, by the powers that it leaves."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from beam_jobs.config import Range
from components.trainer.config import AugmentConfig, ModelConfig
from components.trainer.network.augmentation import MelMask, RandomConditions
from components.trainer.network.model import build_model

OFF = {"equalizer_db": 0.0, "noise_share": 0.0, "background_share": 0.0, "band_limit_share": 0.0, "mask_share": 0.0}
CLIPS, FRAMES, BANDS = 200, 30, 64


@pytest.fixture(scope="module")
def decibels():
    """Mel decibels float32 [clips, time, mel, 1] of clips that are loud below and 40 dB quieter above."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 3, [CLIPS, FRAMES, BANDS, 1]) + np.where(np.arange(BANDS) < 40, 0, -40)[:, np.newaxis]
    return values.astype(np.float32)


def change(decibels, rows=0, **effects):
    """How much each point changes, in dB: float32 [clips, time, mel]."""
    tf.random.set_seed(1)
    layer = RandomConditions(AugmentConfig.model_validate({**OFF, **effects}), rows)
    return (layer(decibels, training=True) - decibels).numpy()[..., 0]


def power(decibels):
    return 10 ** (np.asarray(decibels, np.float64) / 10)


def test_with_everything_off_nothing_changes(decibels):
    assert np.abs(change(decibels)).max() < 0.02


def test_outside_training_nothing_changes(decibels):
    assert np.array_equal(RandomConditions(AugmentConfig())(decibels, training=False), decibels)
    assert np.array_equal(MelMask(AugmentConfig())(decibels, training=False), decibels)


def test_the_equalizer_is_smooth_steady_and_another_one_for_each_clip(decibels):
    changes = change(decibels + 60 * (np.arange(BANDS) >= 40)[:, np.newaxis] - 20, equalizer_db=6.0)

    assert np.ptp(changes, axis=1).max() < 0.1  # the same at all times
    curves = changes[:, 0]
    assert np.abs(np.diff(curves, axis=1)).max() < 6  # neighbouring bands move together
    # Eight independent waves of deviation d / sqrt(order), each of mean square 1/2; d itself is drawn evenly from 0 to 6.
    assert curves.std() == pytest.approx(np.sqrt(6.0**2 / 3 * sum(1 / k for k in range(1, 9)) / 2), rel=0.15)
    assert np.abs(np.corrcoef(curves)[0, 1:]).max() < 0.99


def test_noise_has_the_ratio_that_is_asked_for(decibels):
    changes = change(decibels, noise_share=1.0, noise_snr_db=Range(min=10.0, max=10.0))

    added = power(decibels[..., 0] + changes).mean(axis=(1, 2)) / power(decibels).mean(axis=(1, 2, 3)) - 1
    assert 10 * np.log10(added) == pytest.approx(-10, abs=0.1)


def test_noise_comes_to_the_share_that_is_asked_for(decibels):
    changes = change(decibels, noise_share=0.3, noise_snr_db=Range(min=0.0, max=0.0))

    assert (np.abs(changes).max(axis=(1, 2)) > 0.1).mean() == pytest.approx(0.3, abs=0.1)


def test_babble_is_made_of_other_clips(decibels):
    # Every clip sounds in one band of its own.
    clips = np.full([BANDS, FRAMES, BANDS, 1], -60, np.float32)
    clips[range(BANDS), :, range(BANDS)] = 0

    changes = change(clips, background_share=1.0, background_snr_db=Range(min=0.0, max=0.0))

    assert ((changes[:, 0] > 40).sum(axis=1) <= 5).all()
    assert np.median((changes[:, 0] > 40).sum(axis=1)) >= 4


def test_what_lies_underneath_is_not_speech(decibels):
    clips = np.full([40, FRAMES, BANDS, 1], -60, np.float32)
    clips[:4, :, 50] = 0  # not speech: high
    clips[4:, :, 10] = 0

    mixed = clips + change(clips, rows=4, background_share=1.0, background_snr_db=Range(min=20.0, max=20.0))[..., np.newaxis]

    assert (mixed[4:, :, 50] > -25).all()


def test_a_band_limit_takes_the_top(decibels):
    lost = change(decibels, band_limit_share=1.0)[:, 0]

    assert lost[:, -1].min() > -150
    assert (lost[:, -1] < -10).mean() > 0.5
    assert np.abs(lost[:, 15:25]).max() < 6  # no limit reaches the middle, but as a gentle slope


def test_the_mask_hides_neighbouring_bands_for_the_whole_of_a_clip():
    features = np.ones([CLIPS, FRAMES, BANDS, 2], np.float32)
    tf.random.set_seed(1)

    hidden = MelMask(AugmentConfig(mask_share=1.0))(features, training=True).numpy() == 0

    assert (hidden == hidden[:, :1, :, :1]).all()
    widths = hidden[:, 0, :, 0].sum(axis=1)
    assert 1 < widths.mean() < widths.max() <= 13
    assert (np.abs(np.diff(hidden[:, 0, :, 0].astype(int), axis=1)).sum(axis=1) <= 2).all()


def test_training_goes_through_it_and_serving_does_not():
    waveform = np.random.default_rng(0).standard_normal([4, 8000]).astype(np.float32)
    answers = {}
    for name, augment in (("off", AugmentConfig.model_validate(OFF)), ("on", AugmentConfig())):
        keras.utils.set_random_seed(3)
        network = build_model(ModelConfig(n_mels=32, mel_f_max_hz=4000.0, augment=augment, dropout=0.0), 8000, 8000, 2)
        heard = keras.Model(network.input, network.get_layer("conditions").output)
        answers[name] = heard(waveform, training=False).numpy(), heard(waveform, training=True).numpy()

    assert np.array_equal(answers["on"][0], answers["off"][0])
    assert np.abs(answers["on"][1] - answers["on"][0]).mean() > 0.5
