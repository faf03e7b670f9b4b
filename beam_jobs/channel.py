# SPDX-License-Identifier: Apache-2.0
"""What lies between a voice and its recording: a room, an amplifier that clips, a codec."""

import io
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import soundfile
from numpy.typing import NDArray

from beam_jobs.audio import resample
from beam_jobs.mixing import Samples, match_level
from beam_jobs.variants import TrainChannel

LOWEST_LIMIT = 0.05
"""Of the peak: a recording that is mostly pauses is not clipped down to them."""


@dataclass(frozen=True, slots=True)
class Room:
    """A room without walls: direct sound, then noise that fades, as late reverberation does. `seed` is of that noise."""

    rt60_s: float
    direct_to_reverberant_db: float
    pre_delay_s: float
    low_pass_hz: float
    seed: int


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec at a sample rate and for a peak of the signal; `compression_level` (0 to 1) is of MP3 alone."""

    name: Literal["mp3", "mu_law"]
    sample_rate_hz: int
    peak: float
    compression_level: float = 0.0


@dataclass(frozen=True, slots=True)
class Channel:
    """What a voice goes through, in this order. `clipping_quantile`: the share of the samples that stay unclipped."""

    room: Room | None = None
    clipping_quantile: float | None = None
    codec: Codec | None = None


def draw_channel(rng: np.random.Generator, settings: TrainChannel) -> Channel | None:
    """Draws a channel; None, where a voice goes through none."""
    if rng.random() >= settings.share:
        return None
    room = _draw_room(rng, settings) if rng.random() < settings.room_share else None
    quantile = float(rng.uniform(0.9, 0.999)) if rng.random() < settings.clipping_share else None
    codec = None
    kind = rng.random()
    if kind < settings.mp3_share:
        codec = Codec("mp3", int(rng.choice([8_000, 16_000])), 0.5, float(rng.uniform(0.5, 0.98)))
    elif kind < settings.mp3_share + settings.mu_law_share:
        codec = Codec("mu_law", 8_000, float(rng.uniform(0.05, 0.9)))
    return Channel(room, quantile, codec)


def _draw_room(rng: np.random.Generator, settings: TrainChannel) -> Room:
    return Room(
        rt60_s=float(np.exp(rng.uniform(np.log(settings.rt60_s.min), np.log(settings.rt60_s.max)))),
        direct_to_reverberant_db=float(rng.uniform(settings.direct_to_reverberant_db.min, settings.direct_to_reverberant_db.max)),
        pre_delay_s=float(rng.uniform(0.001, 0.01)),
        low_pass_hz=float(rng.uniform(2_000, 7_000)),
        seed=int(rng.integers(2**63)),
    )


def apply_channel(samples: Samples, sample_rate_hz: int, channel: Channel) -> Samples:
    """Sends float32 [samples] through a channel: the same length and the same level."""
    changed = samples
    if channel.room:
        changed = _convolve(changed, room_response(channel.room, sample_rate_hz))
    if channel.clipping_quantile is not None:
        changed = _clip(changed, channel.clipping_quantile)
    if channel.codec:
        changed = _code(changed, sample_rate_hz, channel.codec)
    return samples if changed is samples else match_level(changed, samples)


def room_response(room: Room, sample_rate_hz: int) -> NDArray[np.float64]:
    """Impulse response of a room: 1 at its first sample, and a tail of noise that falls by 60 dB in `rt60_s`."""
    time_s = np.arange(max(1, round(room.rt60_s * sample_rate_hz))) / sample_rate_hz
    spectrum = np.fft.rfft(np.random.Generator(np.random.PCG64(room.seed)).standard_normal(len(time_s)))
    frequency = np.fft.rfftfreq(len(time_s), 1 / sample_rate_hz)
    # Noise has no phase to keep, so the magnitude of a filter of the first order is all of it.
    noise = np.fft.irfft(spectrum / np.sqrt(1 + (frequency / room.low_pass_hz) ** 2), len(time_s))
    tail = np.where(time_s < room.pre_delay_s, 0, noise * 10 ** (-3 * time_s / room.rt60_s))
    energy = float(np.sum(tail**2))
    if energy > 0:
        tail *= 10 ** (-room.direct_to_reverberant_db / 20) / np.sqrt(energy)
    tail[0] = 1
    return tail


def _convolve(samples: Samples, response: NDArray[np.float64]) -> Samples:
    size = 1 << (len(samples) + len(response) - 1).bit_length()
    spectrum = np.fft.rfft(samples.astype(np.float64), size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32)


def _clip(samples: Samples, quantile: float) -> Samples:
    magnitude = np.abs(samples)
    limit = np.float32(max(np.quantile(magnitude, quantile), LOWEST_LIMIT * magnitude.max()))
    return np.clip(samples, -limit, limit)


def _code(samples: Samples, sample_rate_hz: int, codec: Codec) -> Samples:
    """There and back through libsndfile, in memory."""
    options: dict[str, Any] = {"format": "WAV", "subtype": "ULAW"}
    if codec.name == "mp3":
        options = {"format": "MP3", "compression_level": codec.compression_level}
    narrow = resample(samples, sample_rate_hz, codec.sample_rate_hz)
    peak = float(np.abs(narrow).max(initial=0))
    if not peak:
        return samples
    with io.BytesIO() as file:
        soundfile.write(file, narrow * np.float32(codec.peak / peak), codec.sample_rate_hz, **options)
        file.seek(0)
        decoded, _ = soundfile.read(file, dtype="float32")
    wide = resample(decoded, codec.sample_rate_hz, sample_rate_hz)[: len(samples)]
    return np.pad(wide, (0, len(samples) - len(wide)))
