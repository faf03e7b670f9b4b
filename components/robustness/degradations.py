# SPDX-License-Identifier: Apache-2.0
"""What happens to voices on their way to a recording: ten degradations at three strengths, each a pure function.

They are made by other means than the training's augmentation (PSOLA instead of WORLD, image sources instead of drawn tails, GSM
and Opus instead of MP3), so that a model cannot pass by having seen the trick. `strength` is 1, 2 or 3; samples are float32, and
keep their number.
"""

import hashlib
import io
import math
from collections.abc import Callable, Sequence

import numpy as np
import soundfile
from scipy import signal

from components.robustness.config import Degradation
from components.robustness.psola import move_voice

SOUND_M_S = 343.0
TELEPHONE_HZ = 8000
OPUS_RATES_HZ = (8000, 12000, 16000, 24000, 48000)
NUM_BABBLERS = 8

Degrade = Callable[[np.ndarray, int, int, np.random.Generator], np.ndarray]
"""Samples, their rate in Hz, the strength, chance."""


class DegradationError(Exception):
    """A degradation cannot be made on this machine, or of these clips; the text says why in words."""


def degradations(voices: Sequence[np.ndarray]) -> dict[Degradation, Degrade]:
    """All ten by name; `voices`, float32 [samples] each, at the rate of what is degraded, are those that babble."""
    return {
        "shout": shout,
        "low_voice": low_voice,
        "room": room,
        "telephone": telephone,
        "opus": opus,
        "babble": lambda samples, rate_hz, strength, rng: babble(samples, rate_hz, strength, rng, voices),
        "pink_noise": pink_noise,
        "clipped": clipped,
        "low_pass": low_pass,
        "far": far,
    }


def generator(*name: object) -> np.random.Generator:
    """Chance that depends on nothing but the name."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("/".join(map(str, name)).encode()).digest()[:16], "little"))


def shout(samples: np.ndarray, rate_hz: int, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Pitch times 1.4, 1.75, 2.1 (give or take a tenth), formants up to 8 % higher, 2 to 6 dB an octave brighter."""
    pitch, formants = (1.4, 1.75, 2.1)[strength - 1] * rng.uniform(0.9, 1.1), (1.02, 1.05, 1.08)[strength - 1]
    return _same_level(_tilt(move_voice(samples, rate_hz, pitch, formants), rate_hz, (2.0, 4.0, 6.0)[strength - 1]), samples)


def low_voice(samples: np.ndarray, rate_hz: int, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Pitch times 0.85, 0.75, 0.65 (give or take a twentieth), formants up to 4 % lower, 1 to 3 dB an octave darker."""
    pitch, formants = (0.85, 0.75, 0.65)[strength - 1] * rng.uniform(0.95, 1.05), (0.99, 0.98, 0.96)[strength - 1]
    return _same_level(_tilt(move_voice(samples, rate_hz, pitch, formants), rate_hz, (-1.0, -2.0, -3.0)[strength - 1]), samples)


def room(samples: np.ndarray, rate_hz: int, strength: int, rng: np.random.Generator) -> np.ndarray:
    """A room with a reverberation time of 0.3, 0.6, 1.0 s, heard from 1, 2, 3.5 m."""
    size = rng.uniform([5.0, 4.5, 2.5], [9.0, 7.0, 3.5])
    response = room_response(size, (0.3, 0.6, 1.0)[strength - 1], (1.0, 2.0, 3.5)[strength - 1], rate_hz, rng)
    return _same_level(signal.fftconvolve(samples, response)[: len(samples)], samples)


def room_response(
    size: np.ndarray, reverberation_s: float, distance_m: float, rate_hz: int, rng: np.random.Generator
) -> np.ndarray:
    """The impulse response of a box by image sources (Allen and Berkley, 1979), direct sound first.

    Args:
        size: float [3], length, width and height in metres.
        reverberation_s: RT60, from which Eyring's formula gives the walls' reflection.
        distance_m: between source and microphone, in a drawn direction and place.
        rate_hz: of the response.
        rng: of the place.

    Returns:
        float [samples].
    """
    volume, surface = np.prod(size), 2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2])
    # Negative, as behind a soft wall: the late pulses, many to a sample, would else add up to a rumble that decays slowly.
    reflection = -np.exp(-0.5 * 0.161 * volume / (surface * reverberation_s))
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.2, 0.2)])
    offset = distance_m * direction / np.linalg.norm(direction)
    # Both stand half a metre from every wall.
    source = rng.uniform(np.maximum(0.5, 0.5 - offset), np.minimum(size - 0.5, size - 0.5 - offset))
    microphone = source + offset
    reach = 0.8 * reverberation_s * SOUND_M_S
    axes = []
    for axis in range(3):
        n = np.arange(-int(reach / (2 * size[axis])) - 1, int(reach / (2 * size[axis])) + 2)
        along = np.concatenate([2 * n * size[axis] + source[axis], 2 * n * size[axis] - source[axis]]) - microphone[axis]
        axes.append((along, np.concatenate([np.abs(2 * n), np.abs(2 * n - 1)])))
    (x, of_x), (y, of_y), (z, of_z) = axes
    away = np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + z**2)
    gain = reflection ** (of_x[:, None, None] + of_y[:, None] + of_z) / away
    inside = away < reach
    delay = np.rint((away[inside] - distance_m) / SOUND_M_S * rate_hz).astype(int)
    return np.bincount(np.maximum(delay, 0), gain[inside])


def telephone(samples: np.ndarray, rate_hz: int, strength: int, rng: np.random.Generator) -> np.ndarray:
    """GSM 6.10 at 8 kHz in the telephone band, coded once, twice, four times over."""
    band = signal.butter(4, [300, 3400], "band", fs=TELEPHONE_HZ, output="sos")
    coded = _peak(signal.sosfilt(band, _resampled(samples, rate_hz, TELEPHONE_HZ)), 0.5)
    for _ in range((1, 2, 4)[strength - 1]):
        # The codec's frames of 20 ms lie elsewhere each time.
        shift = int(rng.integers(160))
        coded = _coded(np.pad(coded, (shift, 160)), TELEPHONE_HZ, "WAV", "GSM610")[shift : shift + len(coded)]
    return _same_level(_length(_resampled(coded, TELEPHONE_HZ, rate_hz), len(samples)), samples)


def opus(samples: np.ndarray, rate_hz: int, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Opus at 16, 10, 6 kbit/s; the last leaves nothing above 4 kHz."""
    # libsndfile's scale of compression runs from 256 kbit/s down to 6.
    level = 1 - ((16, 10, 6)[strength - 1] - 6) / 250
    opus_hz = min(rate for rate in OPUS_RATES_HZ if rate >= min(rate_hz, OPUS_RATES_HZ[-1]))
    # What libsndfile's reader leaves out of the end must not be the voice's.
    padded = np.pad(_peak(samples, 0.5), (0, rate_hz // 4))
    coded = _coded(_resampled(padded, rate_hz, opus_hz), opus_hz, "OGG", "OPUS", level)
    return _same_level(_length(_resampled(coded, opus_hz, rate_hz), len(samples)), samples)


def babble(
    samples: np.ndarray, rate_hz: int, strength: int, rng: np.random.Generator, voices: Sequence[np.ndarray]
) -> np.ndarray:
    """Eight other voices, equally loud, together 15, 8, 2 dB below.

    Raises:
        DegradationError: there are no other voices.
    """
    if not voices:
        raise DegradationError("there are no clips of other speakers to make babble from")
    others = np.zeros(len(samples))
    for number in rng.choice(len(voices), NUM_BABBLERS):
        voice = np.resize(voices[number], len(samples) + int(rng.integers(rate_hz)))[-len(samples) :]
        others += voice / (voice.std() + 1e-9)
    return _under(samples, others, (15.0, 8.0, 2.0)[strength - 1])


def pink_noise(samples: np.ndarray, rate_hz: int, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of -3 dB an octave, 15, 8, 2 dB below."""
    spectrum = np.fft.rfft(rng.standard_normal(len(samples)))
    spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
    return _under(samples, np.fft.irfft(spectrum, len(samples)), (15.0, 8.0, 2.0)[strength - 1])


def clipped(samples: np.ndarray, rate_hz: int, strength: int, rng: np.random.Generator) -> np.ndarray:
    """The loudest 5, 15, 30 % of the samples are cut off."""
    limit = np.quantile(np.abs(samples), 1 - (0.05, 0.15, 0.3)[strength - 1])
    return np.clip(samples, -limit, limit)


def low_pass(samples: np.ndarray, rate_hz: int, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Nothing above 3,400, 2,400, 1,600 Hz, nor below 300 Hz."""
    band = signal.butter(6, [300, (3400, 2400, 1600)[strength - 1]], "band", fs=rate_hz, output="sos")
    return signal.sosfilt(band, samples).astype(np.float32)


def far(samples: np.ndarray, rate_hz: int, strength: int, rng: np.random.Generator) -> np.ndarray:
    """At -30, -40, -50 dBFS, in a converter of 10 bits with dither: its noise lies 30, 20, 10 dB below the voice."""
    step = 2.0**-9
    quiet = samples * 10 ** ((-30, -40, -50)[strength - 1] / 20) / _rms(samples)
    dither = rng.uniform(-0.5, 0.5, (2, len(samples))).sum(axis=0)
    return (step * np.rint(quiet / step + dither)).astype(np.float32)


def _tilt(samples: np.ndarray, rate_hz: int, db_an_octave: float) -> np.ndarray:
    """Louder or quieter from 500 Hz up to 4 kHz."""
    octaves = np.log2(np.clip(np.fft.rfftfreq(len(samples), 1 / rate_hz), 500, 4000) / 500)
    return np.fft.irfft(np.fft.rfft(samples) * 10 ** (db_an_octave * octaves / 20), len(samples))


def _coded(samples: np.ndarray, rate_hz: int, container: str, subtype: str, level: float | None = None) -> np.ndarray:
    if not soundfile.check_format(container, subtype):
        raise DegradationError(f"this machine's libsndfile {soundfile.__libsndfile_version__} cannot encode {subtype}")
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=container, subtype=subtype, compression_level=level)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def _resampled(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    common = math.gcd(from_hz, to_hz)
    return signal.resample_poly(samples, to_hz // common, from_hz // common)


def _under(samples: np.ndarray, noise: np.ndarray, ratio_db: float) -> np.ndarray:
    mixed = samples + noise * (_rms(samples) / _rms(noise) * 10 ** (-ratio_db / 20))
    return _same_level(mixed, samples)


def _same_level(samples: np.ndarray, original: np.ndarray) -> np.ndarray:
    """As loud as the original, but for what full scale leaves no room for: clipping is a degradation of its own."""
    gain = min(_rms(original) / _rms(samples), 0.99 / (np.abs(samples).max() + 1e-9))
    return (samples * gain).astype(np.float32)


def _peak(samples: np.ndarray, peak: float) -> np.ndarray:
    return samples * (peak / (np.abs(samples).max() + 1e-9))


def _length(samples: np.ndarray, number: int) -> np.ndarray:
    return np.pad(samples, (0, max(0, number - len(samples))))[:number]


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))) + 1e-9)
