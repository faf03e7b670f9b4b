"""Sounds that are not speech, listened to by librosa."""

import librosa
import numpy as np
import pytest

from components.trainer.input import not_speech

RATE_HZ = 16000


@pytest.fixture(scope="module")
def sounds():
    return not_speech.make_sounds(3, 2 * RATE_HZ, RATE_HZ, 70)


def test_every_sound_is_there_and_at_full_scale(sounds):
    assert sounds.shape == (70, 2 * RATE_HZ)
    assert sounds.dtype == np.float32
    assert np.isfinite(sounds).all()
    assert np.abs(sounds).max(axis=1) == pytest.approx(1)


def test_the_same_seed_makes_the_same_sounds(sounds):
    assert np.array_equal(not_speech.make_sounds(3, 2 * RATE_HZ, RATE_HZ, 2), sounds[:2])
    assert not np.allclose(not_speech.make_sounds(4, 2 * RATE_HZ, RATE_HZ, 1)[0], sounds[0])


@pytest.mark.parametrize("rate_hz", [8000, 22050, 48000])
@pytest.mark.parametrize("kind", not_speech.KINDS, ids=lambda kind: kind.__name__)
def test_every_rate(kind, rate_hz):
    for seed in range(5):
        sound = kind(np.random.default_rng(seed), rate_hz, rate_hz)
        assert sound.shape == (rate_hz,)
        assert np.isfinite(sound).all() and sound.any()


def test_noise_is_noisy_and_music_is_not(sounds):
    flatness = librosa.feature.spectral_flatness(y=sounds).mean(axis=(1, 2))
    kinds = np.array([kind.__name__ for kind in not_speech.KINDS * 10])
    assert np.median(flatness[kinds == "noise"]) > 5 * np.median(flatness[kinds == "tone"])


def test_melodies_play_notes():
    """By librosa's own pitch tracker, on notes held long enough for it."""
    notes = [not_speech._sustained_melody(np.random.default_rng(seed), 2 * RATE_HZ, RATE_HZ) for seed in range(6)]
    pitched = [np.isfinite(librosa.pyin(note, fmin=100, fmax=2000, sr=RATE_HZ)[0]).mean() for note in notes]
    assert np.median(pitched) > 0.5
