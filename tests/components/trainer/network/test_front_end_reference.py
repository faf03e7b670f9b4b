"""The whole front end against one written with librosa and NumPy, at the default parameters."""

import librosa
import numpy as np
import pytest
import tf_keras as keras

from components.trainer.config import ModelConfig
from components.trainer.network.front_end import DYNAMIC_RANGE_DB, SPEECH_RANGE_DB
from components.trainer.network.model import build_model

SAMPLE_RATE_HZ = 22050
CONFIG = ModelConfig()


@pytest.fixture(scope="module")
def front_end():
    model = build_model(CONFIG, 6 * SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, 2)
    return keras.Model(model.input, [model.get_layer(name).output for name in ("speech_mask", "mel", "delta")])


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


def reference(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mask [time], mel and delta [time, mel]."""
    mel = librosa.feature.melspectrogram(
        y=samples,
        sr=SAMPLE_RATE_HZ,
        n_fft=CONFIG.n_fft,
        hop_length=CONFIG.hop_length,
        n_mels=CONFIG.n_mels,
        fmin=CONFIG.mel_f_min_hz,
        fmax=CONFIG.mel_f_max_hz,
        power=1.0,
        center=False,
    )
    decibels = librosa.power_to_db(mel, amin=1e-5, top_db=DYNAMIC_RANGE_DB).T.astype(np.float64)
    speech = decibels.max(axis=1) >= decibels.max() - SPEECH_RANGE_DB

    def standardize(features: np.ndarray) -> np.ndarray:
        values = features[speech]
        return speech[:, np.newaxis] * (features - values.mean()) / np.sqrt(values.var() + 1e-3)

    standard = standardize(decibels)
    padded = np.pad(standard, [(2, 2), (0, 0)], mode="symmetric")
    delta = np.sum([step * padded[2 + step : len(padded) - 2 + step] for step in (-2, -1, 1, 2)], axis=0) / 10
    return speech, standard, standardize(delta)


def test_mel_and_delta_equal_librosa(front_end):
    clips = np.stack([speech_like(seed) * gain for seed, gain in enumerate((1.0, 0.1, 0.01))])

    masks, mels, deltas = (features.numpy() for features in front_end(clips))

    for clip, mask, mel, delta in zip(clips, masks, mels, deltas, strict=True):
        speech, expected_mel, expected_delta = reference(clip)
        assert 0.2 < speech.mean() < 0.9
        assert np.array_equal(mask[:, 0, 0], speech)
        assert mel[..., 0] == pytest.approx(expected_mel, abs=1e-3)
        assert delta[..., 0] == pytest.approx(expected_delta, abs=1e-3)
