# SPDX-License-Identifier: Apache-2.0
"""Mixing in NumPy: segments onto a timeline, levels, 16-bit samples."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from beam_jobs.silence import LEVEL_FLOOR_DBFS, LEVEL_FLOOR_POWER

Samples = NDArray[np.float32]

PEAK_LIMIT = np.float32(32766 / 32768)
PIECE = 1 << 14
"""Samples that are worked on at a time, so that what is made of them on the way stays in the cache."""
BLOCK_S = 0.05
ACTIVE_POWER_RANGE = 1e-4


def db_to_amplitude(gain_db: float) -> np.float32:
    """Amplitude factor of a gain in decibels.

    >>> float(db_to_amplitude(20))
    10.0
    """
    return np.float32(10 ** (gain_db / 20))


def match_level(samples: Samples, like: Samples) -> Samples:
    """`samples`, as loud (root mean square) as `like` is; `like` itself where `samples` are silent."""
    level, wanted = (float(np.sqrt(np.mean(np.square(part, dtype=np.float64)))) for part in (samples, like))
    return samples * np.float32(wanted / level) if level else like


def add_up(segments: Iterable[tuple[int, Samples]], num_samples: int) -> Samples:
    """Adds (start, samples) segments up on `num_samples` of silence; what reaches over the end is cut.

    >>> add_up([(0, np.float32([1, 1])), (1, np.float32([2, 2, 2]))], 3).tolist()
    [1.0, 3.0, 2.0]
    """
    timeline = np.zeros(num_samples, np.float32)
    for start, samples in segments:
        part = samples[: max(0, num_samples - start)]
        timeline[start : start + len(part)] += part
    return timeline


def limit(samples: Samples) -> Samples:
    """The samples; where they leave full scale, scaled down as a whole, so that loud rooms are not distorted. In place."""
    peak = max(samples.max(initial=0), -samples.min(initial=0))
    if peak > PEAK_LIMIT:
        samples *= PEAK_LIMIT / peak
    return samples


def balance(voices: Sequence[Samples], sample_rate_hz: int, balance_db: float) -> None:
    """Makes those voices softer, in place, that are more than `balance_db` louder (`active_level_db`) than the softest."""
    levels_db = [active_level_db(samples, sample_rate_hz) for samples in voices]
    for samples, level_db in zip(voices, levels_db, strict=True):
        if (excess_db := level_db - min(levels_db) - balance_db) > 0:
            samples *= db_to_amplitude(-excess_db)


def active_level_db(samples: Samples, sample_rate_hz: int) -> float:
    """Level of the blocks of 50 ms within 40 dB of the loudest: that of a voice while it is heard, pauses left out."""
    block = max(1, round(BLOCK_S * sample_rate_hz))
    whole = np.zeros(-(-len(samples) // block) * block)
    whole[: len(samples)] = samples
    power = np.mean(np.square(whole.reshape(-1, block)), axis=1)
    heard = power[power >= power.max(initial=0) * ACTIVE_POWER_RANGE]
    return 10 * float(np.log10(max(LEVEL_FLOOR_POWER, np.mean(heard))))


def to_pcm16(samples: Samples) -> NDArray[np.int16]:
    """Float samples in [-1, 1] as 16-bit ones, rounded to nearest."""
    pcm16 = np.empty(len(samples), np.int16)
    scratch = np.empty(PIECE, np.float32)
    for start in range(0, len(samples), PIECE):
        part = samples[start : start + PIECE]
        scaled = np.multiply(part, np.float32(32768), out=scratch[: len(part)])
        pcm16[start : start + PIECE] = np.rint(scaled, out=scaled)
    return pcm16


def block_energies(pcm16: NDArray[np.int16], block: int) -> NDArray[np.float64]:
    """The sum of squares of each `block` samples; the last block may be shorter.

    Squares of int16 and the sum of up to 2**23 of them are whole numbers below 2**53: exact, so the same on every machine.
    """
    energies = np.zeros(-(-len(pcm16) // block))
    blocks = max(1, PIECE // block)
    for first in range(0, len(energies), blocks):
        piece = pcm16[first * block : (first + blocks) * block].astype(np.float64)
        if rest := len(piece) % block:
            piece = np.append(piece, np.zeros(block - rest))
        rows = piece.reshape(-1, block)
        # No product of matrices: OpenBLAS's threads would take the core from decoding, or from the next worker.
        energies[first : first + len(rows)] = np.einsum("ij,ij->i", rows, rows)
    return energies


def rms_dbfs(energy: float, num_samples: int) -> float:
    """Root mean square level of 16-bit samples with that sum of squares in dB relative to full scale (1.0), at least -120 dB.

    >>> round(rms_dbfs(2 * 16384**2, 2), 2)
    -6.02
    """
    power = energy / max(1, num_samples) / 32768**2
    return max(LEVEL_FLOOR_DBFS, 10 * float(np.log10(power))) if power > 0 else LEVEL_FLOOR_DBFS
