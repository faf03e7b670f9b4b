"""Mixing in NumPy: segments onto a timeline, levels, 16-bit samples."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from beam_jobs.silence import LEVEL_FLOOR_DBFS

Samples = NDArray[np.float32]

PEAK_LIMIT = np.float32(32766 / 32768)
DOT_BLOCK = 8192


def db_to_amplitude(gain_db: float) -> np.float32:
    """Amplitude factor of a gain in decibels."""
    return np.float32(10 ** (gain_db / 20))


def match_level(samples: Samples, like: Samples) -> Samples:
    """`samples`, as loud (root mean square) as `like` is; `like` itself where `samples` are silent."""
    level, wanted = (float(np.sqrt(np.mean(np.square(part, dtype=np.float64)))) for part in (samples, like))
    return samples * np.float32(wanted / level) if level else like


def mix(segments: Iterable[tuple[int, Samples]], num_samples: int) -> Samples:
    """Adds (start, samples) segments up on `num_samples` of silence; what reaches over the end is cut.

    A sum that leaves full scale is scaled down as a whole, so that loud rooms are not distorted.
    """
    timeline = np.zeros(num_samples, np.float32)
    for start, samples in segments:
        part = samples[: max(0, num_samples - start)]
        timeline[start : start + len(part)] += part
    peak = max(timeline.max(initial=0), -timeline.min(initial=0))
    if peak > PEAK_LIMIT:
        timeline *= PEAK_LIMIT / peak
    return timeline


def to_pcm16(samples: Samples) -> NDArray[np.int16]:
    """Float samples in [-1, 1] as 16-bit ones, rounded to nearest."""
    scaled = samples * np.float32(32768)
    return np.rint(scaled, out=scaled).astype(np.int16)


def rms_dbfs(pcm16: NDArray[np.int16]) -> float:
    """Root mean square level in dB relative to full scale (1.0), at least -120 dB."""
    if not len(pcm16):
        return LEVEL_FLOOR_DBFS
    # Squares of int16 and the sum of up to 2**23 of them are whole numbers below 2**53: exact, so the same on every machine.
    # In blocks that OpenBLAS leaves to one thread (it takes several from 10,000 values on): its threads spin on after the
    # product and take the core from decoding, or from the next worker.
    blocks = (pcm16[start : start + DOT_BLOCK].astype(np.float64) for start in range(0, len(pcm16), DOT_BLOCK))
    power = sum(float(np.dot(block, block)) for block in blocks) / len(pcm16) / 32768**2
    return max(LEVEL_FLOOR_DBFS, 10 * float(np.log10(power))) if power > 0 else LEVEL_FLOOR_DBFS
