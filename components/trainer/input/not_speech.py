# SPDX-License-Identifier: Apache-2.0
"""Sounds that are not speech, made by rule: what the speech detector learns from, beside the clips.

Noises of every colour, tones, hum, engines, wind, applause, things that are struck, sirens and birds, and music (`music.py`),
half of it all in a room or through a codec. Pure functions of a random generator: float32 [samples] whose peak is 1.
"""

from collections.abc import Callable

import numpy as np
from scipy import signal

from beam_jobs.channel import apply_channel, draw_channel
from beam_jobs.variants import TrainChannel
from components.trainer.input.music import music

Sound = Callable[[np.random.Generator, int, int], np.ndarray]

FAINT_NOISE = 1e-4
CHANNEL = TrainChannel()
"""What voices of training go through, these sounds go through: a room must not sound like speech."""


def make_sounds(seed: int, num_samples: int, sample_rate_hz: int, count: int) -> np.ndarray:
    """float32 [count, num_samples]: all kinds in turn, a third of them music."""
    sounds = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        sound = KINDS[number % len(KINDS)](rng, num_samples, sample_rate_hz)
        sound = sound / max(np.abs(sound).max(), 1e-9) + FAINT_NOISE * rng.standard_normal(num_samples)
        if channel := draw_channel(rng, CHANNEL):
            sound = apply_channel(sound.astype(np.float32), sample_rate_hz, channel)
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


def machine(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """An engine: harmonics of a speed that rises, falls and trembles, through the resonances of its housing, and its noise."""
    speed_hz = _log_uniform(rng, 20, 300) * np.exp(_wander(rng, num_samples, sample_rate_hz, 1.0, rng.uniform(0, 0.5)))
    phase = np.cumsum(speed_hz) / sample_rate_hz
    roughness = rng.uniform(0, 0.5)
    firing = signal.sawtooth(2 * np.pi * phase, rng.uniform(0, 1)) + roughness * np.sin(np.pi * phase)
    whine = np.sin(2 * np.pi * phase * rng.integers(5, 25)) * rng.uniform(0, 0.5)
    sound = _resonances(rng, firing + whine, sample_rate_hz)
    return sound / sound.std() + 10 ** rng.uniform(-2, 0) * noise(rng, num_samples, sample_rate_hz)


def gusts(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """Wind, a slide, a whoosh: noise whose level and brightest frequency wander."""
    size = round(0.064 * sample_rate_hz)
    sound = rng.standard_normal(num_samples)
    frequency_hz, _, spectrum = signal.stft(sound, nperseg=size)
    frequency_hz = frequency_hz * sample_rate_hz
    frames = spectrum.shape[1]
    rate_hz = sample_rate_hz / (size // 2)
    centre_hz = _log_uniform(rng, 150, 3000) * np.exp(_wander(rng, frames, rate_hz, rng.uniform(0.5, 4), rng.uniform(0, 0.8)))
    level = np.exp(_wander(rng, frames, rate_hz, rng.uniform(0.5, 6), rng.uniform(0.2, 1.2)))
    width = rng.uniform(0.1, 1.5)
    spectrum *= level / (1 + ((frequency_hz[:, np.newaxis] - centre_hz) / (centre_hz * width)) ** 2)
    return np.pad(signal.istft(spectrum, nperseg=size)[1], (0, num_samples))[:num_samples]


def crowd(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """Applause, rain, steps, a typewriter: a short noise again and again, from a few to hundreds in a second."""
    each = round(_log_uniform(rng, 0.003, 0.08) * sample_rate_hz)
    grain = rng.standard_normal(each) * np.exp(-5 * np.arange(each) / each)
    grain = _resonances(rng, grain, sample_rate_hz)
    count = int(_log_uniform(rng, 2, 400) * num_samples / sample_rate_hz) + 1
    hits = np.zeros(num_samples)
    if rng.random() < 0.3:
        hits[:: max(1, num_samples // count)] = 1
    else:
        np.add.at(hits, rng.integers(0, num_samples, count), rng.uniform(0.1, 1, count))
    return signal.fftconvolve(hits, grain)[:num_samples]


def impacts(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """Things that are struck: wood, metal, glass, each with its own frequencies, which fade at their own pace."""
    sound = np.zeros(num_samples)
    time_s = np.arange(min(num_samples, sample_rate_hz)) / sample_rate_hz
    thing = None
    for _ in range(rng.integers(1, 8)):
        if thing is None or rng.random() < 0.5:
            modes_hz = np.exp(rng.uniform(np.log(100), np.log(0.45 * sample_rate_hz), rng.integers(2, 12)))
            fades = _log_uniform(rng, 2, 60) * rng.uniform(0.5, 3, len(modes_hz))
            thing = sum(np.sin(2 * np.pi * f * time_s) * np.exp(-d * time_s) for f, d in zip(modes_hz, fades, strict=True))
        start = int(rng.integers(0, num_samples))
        sound[start : start + len(thing)] += rng.uniform(0.3, 1) * thing[: num_samples - start]
    return sound


def calls(rng: np.random.Generator, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """Sirens, birds, squeaks, the effects of a game: a tone with overtones whose pitch runs up and down, in calls or for good."""
    sound, position = np.zeros(num_samples), 0
    lowest_hz, speed_hz, depth = _log_uniform(rng, 100, 3000), _log_uniform(rng, 0.3, 12), rng.uniform(0.05, 1)
    fall, wave, call_s, pause_s = rng.uniform(0.5, 4), rng.integers(3), _log_uniform(rng, 0.05, 3), rng.uniform(0, 0.6)
    order = np.arange(1, 13)
    while position < num_samples:
        length = min(max(2, int(call_s * rng.uniform(0.6, 1.4) * sample_rate_hz)), num_samples - position)
        time_s = np.arange(length) / sample_rate_hz
        turn = 2 * np.pi * speed_hz * time_s
        bend = (np.sin(turn), signal.sawtooth(turn, 0.5), 2 * time_s / max(time_s[-1], 1e-3) - 1)[wave]
        phase = np.cumsum(np.minimum(lowest_hz * np.exp(depth * bend), 0.4 * sample_rate_hz)) / sample_rate_hz
        heard = order * lowest_hz * np.exp(depth) < 0.48 * sample_rate_hz
        heard[0] = True
        call = (order**-fall * heard) @ np.sin(2 * np.pi * np.outer(order, phase))
        sound[position : position + length] = call * np.sin(np.pi * np.arange(length) / length) ** rng.uniform(0.1, 1)
        position += length + int(pause_s * rng.uniform(0.3, 1.7) * sample_rate_hz)
    return _resonances(rng, sound, sample_rate_hz) if rng.random() < 0.5 else sound


def _wander(rng: np.random.Generator, points: int, rate_hz: float, turns_hz: float, deviation: float) -> np.ndarray:
    """A slow random curve of mean 0: float [points]."""
    knots = max(2, round(points / rate_hz * turns_hz) + 1)
    return np.interp(np.linspace(0, knots - 1, points), range(knots), rng.normal(0, deviation, knots))


def _resonances(rng: np.random.Generator, sound: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """The sound through one to three resonances that stay where they are."""
    spectrum = np.fft.rfft(sound)
    frequency_hz = np.fft.rfftfreq(len(sound), 1 / sample_rate_hz)
    response = np.full(len(frequency_hz), 0.05)
    for _ in range(rng.integers(1, 4)):
        centre_hz = _log_uniform(rng, 150, 4000)
        response += rng.uniform(0.2, 1) / (1 + ((frequency_hz - centre_hz) / (centre_hz * rng.uniform(0.05, 0.6))) ** 2)
    return np.fft.irfft(spectrum * response, len(sound))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


KINDS: tuple[Sound, ...] = (
    *(music, noise, tone, music, hum, clicks, music, machine, gusts, music, crowd, impacts, music, calls, music),
)
