"""Sounds that are not speech, made by rule: what the speech detector learns from, beside the clips.

Noises of every colour, tones, sweeps, hum, clicks, and a kind of music: plucked and sustained melodies with vibrato, chords,
drums. Pure functions of a random generator: float32 [samples] whose peak is 1.
"""

from collections.abc import Callable

import numpy as np
from scipy import signal

Sound = Callable[[np.random.Generator, int, int], np.ndarray]

FAINT_NOISE = 1e-4


def make_sounds(seed: int, num_samples: int, sample_rate_hz: int, count: int) -> np.ndarray:
    """float32 [count, num_samples]: all kinds in turn, music three times as often as each other kind."""
    sounds = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        sound = KINDS[number % len(KINDS)](rng, num_samples, sample_rate_hz)
        sound = sound + FAINT_NOISE * rng.standard_normal(num_samples)
        sounds.append((sound / np.abs(sound).max()).astype(np.float32))
    return np.stack(sounds)


def noise(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """Coloured noise, some of it around one frequency, half of it swelling and fading."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    frequency_hz = np.fft.rfftfreq(num_samples, 1 / sample_rate_hz) + 20
    spectrum *= frequency_hz ** rng.uniform(-2, 1)
    if rng.random() < 0.4:
        centre_hz = _log_uniform(rng, 100, 0.375 * sample_rate_hz)
        spectrum *= 1 / (1 + ((frequency_hz - centre_hz) / (centre_hz * rng.uniform(0.05, 0.8))) ** 2)
    sound = np.fft.irfft(spectrum, num_samples)
    if rng.random() < 0.5:
        points = max(2, round(6 * num_samples / sample_rate_hz))
        sound *= np.interp(np.linspace(0, points - 1, num_samples), range(points), np.exp(rng.normal(0, 0.9, points)))
    return sound


def tone(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """A sine, steady, beeping, sweeping or with another one; a square or a sawtooth; in more or less noise."""
    time = np.arange(num_samples) / sample_rate_hz
    first_hz, second_hz = (_log_uniform(rng, 60, 0.43 * sample_rate_hz) for _ in range(2))
    phase = 2 * np.pi * first_hz * time
    kind = rng.integers(5)
    if kind == 0:
        sound = np.sin(phase)
    elif kind == 1:
        sound = np.sin(phase) * (np.sin(2 * np.pi * rng.uniform(0.5, 8) * time) > 0)
    elif kind == 2:
        sound = signal.chirp(time, first_hz, time[-1], second_hz)
    elif kind == 3:
        wave = signal.square if rng.random() < 0.5 else signal.sawtooth
        sound = wave(2 * np.pi * min(first_hz, 1500) * time)
    else:
        sound = np.sin(phase) + np.sin(phase * rng.uniform(1.1, 2))
    return sound + rng.standard_normal(num_samples) * 10 ** rng.uniform(-5, -1)


def hum(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """Mains or a machine: harmonics of a low tone that never changes."""
    time = np.arange(num_samples) / sample_rate_hz
    base_hz, fall = rng.choice([50, 60, rng.uniform(40, 200)]), rng.uniform(0.3, 2)
    harmonics = sum(np.sin(2 * np.pi * k * base_hz * time) / k**fall for k in range(1, 20) if k * base_hz < sample_rate_hz / 2)
    return harmonics + rng.standard_normal(num_samples) * 10 ** rng.uniform(-3, 0)


def clicks(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """Clicks that make something ring."""
    sound = np.zeros(num_samples)
    sound[rng.integers(0, num_samples, rng.integers(3, 120))] = 1
    return signal.lfilter([1], [1, -1.9 * np.cos(rng.uniform(0.1, 2.5)), 0.95**2], sound)


def music(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """One to three of a plucked melody, a sustained one, chords and drums."""
    parts = rng.choice(4, rng.integers(1, 4), replace=False)
    return sum(rng.uniform(0.3, 1) * _PARTS[part](rng, num_samples, sample_rate_hz) for part in parts)


def _melody(rng: np.random.Generator, num_samples: int, sample_rate_hz: int, sustained: bool = False) -> np.ndarray:
    sound, position = np.zeros(num_samples), 0
    lowest, beat_s = rng.uniform(48, 76), rng.uniform(0.12, 0.7)
    while position < num_samples:
        length = min(int(beat_s * rng.choice([0.5, 1, 1, 2]) * sample_rate_hz), num_samples - position)
        note = _note(rng, lowest + rng.choice([0, 2, 4, 5, 7, 9, 11, 12]), length, sample_rate_hz)
        if sustained:
            ends = np.minimum(np.arange(length), np.arange(length)[::-1]) / (0.02 * sample_rate_hz)
            note *= np.minimum(1, ends)
        else:
            note *= _pluck(rng, length, sample_rate_hz)
        sound[position : position + length] += note
        position += length
    return sound


def _sustained_melody(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    return _melody(rng, num_samples, sample_rate_hz, sustained=True)


def _chords(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    sound, position = np.zeros(num_samples), 0
    while position < num_samples:
        length = min(int(rng.uniform(0.4, 2) * sample_rate_hz), num_samples - position)
        root = rng.uniform(40, 64)
        for interval in (0, rng.choice([3, 4]), 7, 12):
            note = _note(rng, root + interval, length, sample_rate_hz, vibrato=False)
            sound[position : position + length] += note * _pluck(rng, length, sample_rate_hz)
        position += length
    return sound


def _drums(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    sound = np.zeros(num_samples)
    for start in range(0, num_samples, int(rng.uniform(0.12, 0.35) * sample_rate_hz)):
        time = np.arange(min(int(0.3 * sample_rate_hz), num_samples - start)) / sample_rate_hz
        if rng.random() < 1 / 3:
            hit = np.sin(2 * np.pi * (50 * time + 8 * (1 - np.exp(-30 * time)))) * np.exp(-12 * time)
        else:
            hit = rng.standard_normal(len(time)) * np.exp(-rng.uniform(15, 60) * time)
        sound[start : start + len(time)] += rng.uniform(0.2, 1) * hit
    return sound


def _note(rng: np.random.Generator, midi: float, length: int, sample_rate_hz: int, vibrato: bool = True) -> np.ndarray:
    time, base_hz = np.arange(length) / sample_rate_hz, 440 * 2 ** ((midi - 69) / 12)
    phase = 2 * np.pi * base_hz * time
    if vibrato and rng.random() < 0.5:
        phase += rng.uniform(0, 0.03) * base_hz / 6 * np.sin(2 * np.pi * rng.uniform(4, 7) * time)
    harmonics = max(1, min(int(rng.integers(1, 25)), int(0.48 * sample_rate_hz / base_hz)))
    fall, step = rng.uniform(0.5, 2.5), 2 if rng.random() < 0.2 else 1
    note = np.zeros(length)
    for k in range(1, harmonics + 1, step):
        note += k**-fall * rng.uniform(0.2, 1) * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
    return note


def _pluck(rng: np.random.Generator, length: int, sample_rate_hz: int) -> np.ndarray:
    time = np.arange(length) / sample_rate_hz
    return np.exp(-time / rng.uniform(0.08, 1.5)) * np.minimum(1, time / rng.uniform(0.002, 0.08))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


_PARTS: tuple[Sound, ...] = (_melody, _sustained_melody, _chords, _drums)
KINDS: tuple[Sound, ...] = (music, noise, tone, music, hum, clicks, music)
