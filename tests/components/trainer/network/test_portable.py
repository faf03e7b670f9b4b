# SPDX-License-Identifier: Apache-2.0
"""The inference of built-in operators against the served one, of every architecture."""

import numpy as np
import pytest
from untrained import NUM_SAMPLES, RATE_HZ, serve_untrained


@pytest.fixture(scope="module")
def recordings(make_voice):
    voice, other = make_voice(0, 60, 3 * RATE_HZ, RATE_HZ), make_voice(1, 61, 5 * RATE_HZ, RATE_HZ)
    pause = np.zeros(2 * RATE_HZ, np.float32)
    return {
        "a voice": voice,
        "of 8 bits": np.round(voice * 128) / np.float32(128),
        "pauses": np.concatenate([pause, voice, pause, other, pause]),
        "a minute": np.resize(np.concatenate([voice, other]), 60 * RATE_HZ),
        "0.2 s": voice[8000:9600],
        "0.02 s": voice[8000:8160],
        "one sample": voice[8000:8001],
        "very quiet": voice / np.float32(1e6),
        "very loud": voice * np.float32(1e30),
        "silence": pause,
        "NaN": np.where(np.arange(len(voice)) == 100, np.float32(np.nan), voice),
        "infinity": np.where(np.arange(len(voice)) == 100, np.float32(np.inf), voice),
    }


@pytest.mark.parametrize(
    ("architecture", "classes", "skip_pauses"),
    [
        ("conv3d", ["male", "female"], True),
        ("conv3d", ["male", "female"], False),
        ("conv3d", ["male", "female", "mixed"], True),
        ("conv3d", ["bell", "hiss", "hum", "siren", "ticking"], False),
        ("cnn2d", ["male", "female"], True),
        ("crnn", ["male", "female"], True),
        ("prototype", ["male", "female"], True),
    ],
)
def test_it_answers_as_the_served_one_does(architecture, classes, skip_pauses, recordings):
    model = serve_untrained(architecture, classes, skip_pauses=skip_pauses)

    for name, samples in recordings.items():
        expected = model.serve_waveform(samples[np.newaxis])
        found = model.portable(samples)
        for output in ("probabilities", "speech"):
            assert found[output].numpy() == pytest.approx(expected[output].numpy()[0], abs=2e-5), (name, output)


def test_pauses_count_only_where_they_are_not_skipped_and_silence_around_never_does():
    """A clock that ticks four times a second, and the same ticks without the time between them."""
    skipping, keeping = (serve_untrained("conv3d", ["bell", "ticking"], skip_pauses=skip_pauses) for skip_pauses in (True, False))
    tick = (0.3 * np.random.default_rng(2).standard_normal(RATE_HZ // 10)).astype(np.float32)
    clock = np.tile(np.concatenate([tick, np.zeros(RATE_HZ // 4 - len(tick), np.float32)]), 12)
    followed = np.concatenate([clock, np.zeros(2 * RATE_HZ, np.float32)])

    def probability(model, samples):
        return model.serve_waveform(samples[np.newaxis])["probabilities"].numpy()[0, 0]

    assert probability(keeping, np.tile(tick, 12)) == probability(skipping, np.tile(tick, 12))
    assert abs(probability(keeping, clock) - probability(skipping, clock)) > 1e-3  # of random weights
    assert probability(keeping, followed) == pytest.approx(probability(keeping, clock), abs=1e-4)


def test_its_fourier_transform_is_kapres(recordings):
    model = serve_untrained("conv3d", ["male", "female"])
    noise = np.random.default_rng(1).normal(size=NUM_SAMPLES).astype(np.float32)

    for samples in (recordings["a voice"], noise, noise * 1e-3):
        expected = model._portable._frames.mel_decibels(samples[np.newaxis])[0].numpy()
        assert model._portable._decibels_of(samples).numpy() == pytest.approx(expected, abs=1e-2)
        assert np.abs(model._portable._decibels_of(samples).numpy() - expected).mean() < 1e-4
