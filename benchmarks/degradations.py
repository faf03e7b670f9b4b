"""What happens to voices on their way to a recording: ten degradations at three strengths, each a pure function.

They are made by other means than the training's augmentation (PSOLA instead of WORLD, image sources instead of drawn tails, GSM
and Opus instead of MP3), so that a model cannot pass by having seen the trick. `strength` is 0, 1 or 2; samples are float32 at
16 kHz, and keep their number.
"""

import hashlib
import io
from collections.abc import Callable, Sequence

import numpy as np
import soundfile
from scipy import signal

from benchmarks.psola import move_voice

RATE_HZ = 16000
STRENGTHS = (0, 1, 2)
SOUND_M_S = 343.0

Degradation = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def degradations(voices: Sequence[np.ndarray]) -> dict[str, Degradation]:
    """All ten by name; `voices`, float32 [samples] each, are those that babble."""
    return {
        "shout": shout,
        "low voice": low_voice,
        "room": room,
        "gsm": gsm,
        "opus": opus,
        "babble": lambda samples, strength, rng: babble(samples, strength, rng, voices),
        "pink noise": pink_noise,
        "clipped": clipped,
        "low pass": low_pass,
        "far": far,
    }


def generator(*name: object) -> np.random.Generator:
    """Chance that depends on nothing but the name."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("/".join(map(str, name)).encode()).digest()[:16], "little"))


def shout(samples: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Pitch times 1.4, 1.75, 2.1 (give or take a tenth), formants up to 8 % higher, 2 to 6 dB an octave brighter."""
    moved = move_voice(samples, RATE_HZ, (1.4, 1.75, 2.1)[strength] * rng.uniform(0.9, 1.1), (1.02, 1.05, 1.08)[strength])
    return _same_level(_tilt(moved, (2.0, 4.0, 6.0)[strength]), samples)


def low_voice(samples: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Pitch times 0.85, 0.75, 0.65 (give or take a twentieth), formants up to 4 % lower, 1 to 3 dB an octave darker."""
    moved = move_voice(samples, RATE_HZ, (0.85, 0.75, 0.65)[strength] * rng.uniform(0.95, 1.05), (0.99, 0.98, 0.96)[strength])
    return _same_level(_tilt(moved, (-1.0, -2.0, -3.0)[strength]), samples)


def room(samples: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """A room with a reverberation time of 0.3, 0.6, 1.0 s, heard from 1, 2, 3.5 m."""
    size = rng.uniform([5.0, 4.5, 2.5], [9.0, 7.0, 3.5])
    response = room_response(size, (0.3, 0.6, 1.0)[strength], (1.0, 2.0, 3.5)[strength], rng)
    return _same_level(signal.fftconvolve(samples, response)[: len(samples)], samples)


def room_response(size: np.ndarray, reverberation_s: float, distance_m: float, rng: np.random.Generator) -> np.ndarray:
    """float [samples]: the impulse response of a box by image sources (Allen and Berkley, 1979), direct sound first.

    Args:
        size: length, width and height in metres.
        reverberation_s: RT60, from which Eyring's formula gives the walls' reflection.
        distance_m: between source and microphone, in a drawn direction and place.
        rng: of the place.
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
    delay = np.rint((away[inside] - distance_m) / SOUND_M_S * RATE_HZ).astype(int)
    return np.bincount(np.maximum(delay, 0), gain[inside])


def gsm(samples: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """GSM 6.10 at 8 kHz in the telephone band, coded once, twice, four times over."""
    band = signal.butter(4, [300, 3400], "band", fs=8000, output="sos")
    coded = _peak(signal.sosfilt(band, signal.resample_poly(samples, 1, 2)), 0.5)
    for _ in range((1, 2, 4)[strength]):
        # The codec's frames of 20 ms lie elsewhere each time.
        shift = int(rng.integers(160))
        coded = _coded(np.pad(coded, (shift, 160)), 8000, "WAV", "GSM610")[shift : shift + len(coded)]
    return _same_level(_length(signal.resample_poly(coded, 2, 1), len(samples)), samples)


def opus(samples: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Opus at 16, 10, 6 kbit/s; the last leaves nothing above 4 kHz."""
    # libsndfile's scale of compression runs from 256 kbit/s down to 6.
    level = 1 - ((16, 10, 6)[strength] - 6) / 250
    # What libsndfile's reader leaves out of the end must not be the voice's.
    coded = _coded(np.pad(_peak(samples, 0.5), (0, RATE_HZ // 4)), RATE_HZ, "OGG", "OPUS", level)
    return _same_level(_length(coded, len(samples)), samples)


def babble(samples: np.ndarray, strength: int, rng: np.random.Generator, voices: Sequence[np.ndarray]) -> np.ndarray:
    """Eight other voices, equally loud, together 15, 8, 2 dB below."""
    others = np.zeros(len(samples))
    for number in rng.choice(len(voices), 8):
        voice = np.resize(voices[number], len(samples) + int(rng.integers(RATE_HZ)))[-len(samples) :]
        others += voice / (voice.std() + 1e-9)
    return _under(samples, others, (15.0, 8.0, 2.0)[strength])


def pink_noise(samples: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of -3 dB an octave, 15, 8, 2 dB below."""
    spectrum = np.fft.rfft(rng.standard_normal(len(samples)))
    spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
    return _under(samples, np.fft.irfft(spectrum, len(samples)), (15.0, 8.0, 2.0)[strength])


def clipped(samples: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """The loudest 5, 15, 30 % of the samples are cut off."""
    limit = np.quantile(np.abs(samples), 1 - (0.05, 0.15, 0.3)[strength])
    return np.clip(samples, -limit, limit)


def low_pass(samples: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Nothing above 3,400, 2,400, 1,600 Hz, nor below 300 Hz."""
    band = signal.butter(6, [300, (3400, 2400, 1600)[strength]], "band", fs=RATE_HZ, output="sos")
    return signal.sosfilt(band, samples).astype(np.float32)


def far(samples: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """At -30, -40, -50 dBFS, in a converter of 10 bits with dither: its noise lies 30, 20, 10 dB below the voice."""
    step = 2.0**-9
    quiet = samples * 10 ** ((-30, -40, -50)[strength] / 20) / _rms(samples)
    dither = rng.uniform(-0.5, 0.5, (2, len(samples))).sum(axis=0)
    return (step * np.rint(quiet / step + dither)).astype(np.float32)


def _tilt(samples: np.ndarray, db_an_octave: float) -> np.ndarray:
    """Louder or quieter from 500 Hz up to 4 kHz."""
    octaves = np.log2(np.clip(np.fft.rfftfreq(len(samples), 1 / RATE_HZ), 500, 4000) / 500)
    return np.fft.irfft(np.fft.rfft(samples) * 10 ** (db_an_octave * octaves / 20), len(samples))


def _coded(samples: np.ndarray, rate_hz: int, container: str, subtype: str, level: float | None = None) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=container, subtype=subtype, compression_level=level)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


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
