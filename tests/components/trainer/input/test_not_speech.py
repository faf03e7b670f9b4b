# SPDX-License-Identifier: Apache-2.0
"""Sounds that are not speech, listened to by librosa."""

import librosa
import numpy as np
import pytest

from beam_jobs.variants import TrainChannel
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
    kinds = np.array([kind.__name__ for kind in (not_speech.KINDS * 5)[:70]])
    assert np.median(flatness[kinds == "noise"]) > 5 * np.median(flatness[kinds == "tone"])


def test_wind_swells_and_hum_does_not():
    unsteady = {}
    for kind in (not_speech.gusts, not_speech.hum):
        levels = [librosa.feature.rms(y=kind(np.random.default_rng(seed), 4 * RATE_HZ, RATE_HZ))[0, 3:-3] for seed in range(9)]
        unsteady[kind] = np.median([level.std() / level.mean() for level in levels])
    assert unsteady[not_speech.gusts] > 4 * unsteady[not_speech.hum]


def test_what_is_struck_starts_suddenly():
    """By librosa's onsets: as many as there are blows that can be told apart."""
    hits = [
        librosa.onset.onset_detect(y=not_speech.impacts(np.random.default_rng(seed), 4 * RATE_HZ, RATE_HZ), sr=RATE_HZ)
        for seed in range(8)
    ]
    assert all(1 <= len(found) <= 20 for found in hits)


def test_half_of_the_sounds_are_in_a_room_or_went_through_a_codec(monkeypatch):
    monkeypatch.setattr(not_speech, "CHANNEL", TrainChannel(share=0))
    plain = not_speech.make_sounds(3, 2 * RATE_HZ, RATE_HZ, 70)
    monkeypatch.undo()
    changed = [
        not np.allclose(*pair, atol=1e-3) for pair in zip(plain, not_speech.make_sounds(3, 2 * RATE_HZ, RATE_HZ, 70), strict=True)
    ]
    assert 0.2 < np.mean(changed) < 0.7
