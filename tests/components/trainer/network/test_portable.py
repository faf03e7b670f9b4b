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
    ("architecture", "classes"),
    [
        ("conv3d", ["male", "female"]),
        ("conv3d", ["male", "female", "mixed"]),
        ("cnn2d", ["male", "female"]),
        ("crnn", ["male", "female"]),
        ("prototype", ["male", "female"]),
    ],
)
def test_it_answers_as_the_served_one_does(architecture, classes, recordings):
    model = serve_untrained(architecture, classes)

    for name, samples in recordings.items():
        expected = model.serve_waveform(samples[np.newaxis])
        found = model.portable(samples)
        for output in ("probabilities", "speech"):
            assert found[output].numpy() == pytest.approx(expected[output].numpy()[0], abs=2e-5), (name, output)


def test_its_fourier_transform_is_kapres(recordings):
    model = serve_untrained("conv3d", ["male", "female"])
    noise = np.random.default_rng(1).normal(size=NUM_SAMPLES).astype(np.float32)

    for samples in (recordings["a voice"], noise, noise * 1e-3):
        expected = model._portable._mel_decibels(samples[np.newaxis])[0].numpy()
        assert model._portable._decibels_of(samples).numpy() == pytest.approx(expected, abs=1e-2)
        assert np.abs(model._portable._decibels_of(samples).numpy() - expected).mean() < 1e-4
