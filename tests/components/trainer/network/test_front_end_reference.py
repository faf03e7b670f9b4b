# SPDX-License-Identifier: Apache-2.0
"""The whole front end against one written with librosa and NumPy, at the default parameters."""

import librosa
import numpy as np
import pytest
import tf_keras as keras

from components.trainer.config import ModelConfig
from components.trainer.network.front_end import DELTA_GAIN, DYNAMIC_RANGE_DB, QUIETEST, SPEECH_RANGE_DB, mel_decibels
from components.trainer.network.model import build_model

SAMPLE_RATE_HZ = 22050
CONFIG = ModelConfig()


@pytest.fixture(scope="module")
def front_end():
    model = build_model(CONFIG, 6 * SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, 2)
    classifier = model.get_layer("classifier")
    features = keras.Model(classifier.input, mel_and_delta_of(classifier))
    return lambda clips: features(model.get_layer("mel_decibels")(clips)).numpy()


def speech_like(seed: int, seconds: int = 6) -> np.ndarray:
    """Voiced syllables with a gliding pitch, hisses, room noise 60 dB down, pauses and a silent end: float32 [samples]."""
    rng = np.random.default_rng(seed)
    samples = 3e-4 * rng.standard_normal(seconds * SAMPLE_RATE_HZ)
    for start in np.arange(0.1, seconds - 1.5, 0.3)[rng.random(round((seconds - 1.6) / 0.3)) < 0.8]:
        time = np.arange(round(0.2 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        pitch_hz = rng.uniform(90, 250) * (1 + rng.uniform(-1, 1) * time)
        phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
        voiced = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 20))
        hiss = np.diff(rng.standard_normal(len(time) + 1))
        part = slice(round(start * SAMPLE_RATE_HZ), round(start * SAMPLE_RATE_HZ) + len(time))
        samples[part] += rng.uniform(0.02, 0.2) * np.hanning(len(time)) * (voiced if rng.random() < 0.7 else hiss)
    samples[-SAMPLE_RATE_HZ:] = 0
    return samples.astype(np.float32)


def mel_and_delta_of(classifier):
    """What the first layer behind the front end, the random mask, is given."""
    return classifier.get_layer("mel_mask").input


def reference(samples: np.ndarray) -> np.ndarray:
    """Mel and delta float [time, mel, 2]."""
    mel = librosa.feature.melspectrogram(
        y=samples,
        sr=SAMPLE_RATE_HZ,
        n_fft=CONFIG.n_fft,
        hop_length=CONFIG.hop_length,
        n_mels=CONFIG.n_mels,
        fmin=CONFIG.mel_f_min_hz,
        fmax=7600,
        center=False,
    )
    decibels = librosa.power_to_db(mel, amin=1e-10, top_db=DYNAMIC_RANGE_DB).T.astype(np.float64)
    sounds = decibels.max(axis=1) >= decibels.max() - SPEECH_RANGE_DB
    assert 0.2 < sounds.mean() < 0.95
    values = decibels[sounds]
    standard = np.maximum((decibels - values.mean()) / np.sqrt(values.var() + 1), QUIETEST)
    padded = np.pad(standard, [(2, 2), (0, 0)], mode="symmetric")
    delta = np.sum([step * padded[2 + step : len(padded) - 2 + step] for step in (-2, -1, 1, 2)], axis=0) / 10
    return np.stack([standard, DELTA_GAIN * delta], axis=-1)


def test_mel_and_delta_equal_librosa(front_end):
    clips = np.stack([speech_like(seed) * gain for seed, gain in enumerate((1.0, 0.1, 0.01))])

    for clip, features in zip(clips, front_end(clips), strict=True):
        assert features == pytest.approx(reference(clip), abs=1e-3)


def test_noise_that_lies_far_below_the_loudest_point_changes_nothing(front_end):
    """In all bands, those of a voice's pauses and those above its formants: quiet rooms and converters differ there."""
    time = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    voice = sum(np.sin(2 * np.pi * 120 * harmonic * time) / harmonic**3 for harmonic in range(1, 40)) * np.hanning(len(time))
    noise = 10**-3.25 * np.random.default_rng(0).standard_normal(len(time))
    loudest, quiet = (level.max() for level in (mel_decibels_of(voice), mel_decibels_of(noise)))
    assert loudest - 75 < quiet < loudest - 60  # 80 dB, the floor until then, was below

    features = front_end(np.stack([voice, voice + noise]).astype(np.float32))

    assert features[1] == pytest.approx(features[0], abs=0.1)


def mel_decibels_of(samples):
    return mel_decibels(CONFIG, SAMPLE_RATE_HZ)(samples[np.newaxis].astype(np.float32)).numpy()
