# SPDX-License-Identifier: Apache-2.0
"""How much of a clip is speech, and where, measured by its energy. The share is measured as the model's own mask of silence is.

A clip is mixed of utterances of speech, so what is loud in it is speech. How much of it utterances cover says less: they have
pauses and silent ends, and half of a clip that they cover wholly may be silent.
"""

import numpy as np

from beam_jobs.mixing import block_energies
from beam_jobs.silence import LOUD_RANGE_DB

FRAME_S, HOP_S = 0.032, 0.04
"""Frames as long as those of the model's spectrogram at 16 kHz, and half as many: 25 a second."""
LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0
"""Of its mel bands: the hum of the mains is no speech."""
FRAMES_AT_A_TIME = 256

SPEECH_BLOCKS_PER_S = 10
SPEECH_RANGE = 1e-4
"""A block of this share of the loudest block's energy (-40 dB) is taken for speech, and crops may be cut around it."""


def speech_mask(pcm16: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Which tenths of a second of a clip hold speech; what is left at its end belongs to none.

    Args:
        pcm16: mono int16 [samples].
        sample_rate_hz: of the clip.

    Returns:
        bool [blocks]; one block for a clip that is shorter.

    >>> import numpy as np
    >>> tone = (8000 * np.sin(np.arange(8000) * 0.1)).astype("<i2")
    >>> speech_mask(np.concatenate([tone, 0 * tone]), 16000).tolist()
    [True, True, True, True, True, False, False, False, False, False]
    """
    return mask_of(block_energies(pcm16, block_samples(sample_rate_hz)), len(pcm16), sample_rate_hz)


def mask_of(energies: np.ndarray, num_samples: int, sample_rate_hz: int) -> np.ndarray:
    """The same, of a clip's energies in blocks of `block_samples`."""
    whole = energies[: max(1, num_samples // block_samples(sample_rate_hz))]
    mask: np.ndarray = whole >= SPEECH_RANGE * whole.max(initial=0)
    return mask


def block_samples(sample_rate_hz: int) -> int:
    """Samples of a block of `speech_mask`."""
    return max(1, sample_rate_hz // SPEECH_BLOCKS_PER_S)


def speech_ratio(pcm16: np.ndarray, sample_rate_hz: int) -> float:
    """The share of a clip's frames that are not more than `LOUD_RANGE_DB` below its loud parts, 0 to 1.

    Args:
        pcm16: mono int16 [samples].
        sample_rate_hz: of the clip.

    >>> import numpy as np
    >>> tone = (8000 * np.sin(np.arange(16000) * 0.1)).astype("<i2")
    >>> round(speech_ratio(np.concatenate([tone, 0 * tone]), 16000), 1)
    0.5
    """
    from scipy.fft import next_fast_len, rfft  # 0.1 s, and only those who make clips need it

    length = next_fast_len(round(FRAME_S * sample_rate_hz), real=True)
    hop = max(1, round(HOP_S * sample_rate_hz))
    samples = np.pad(pcm16, (0, length - len(pcm16))) if len(pcm16) < length else pcm16
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]
    # Real and imaginary parts take turns: a weight for each.
    weights = np.repeat(_weights(np.fft.rfftfreq(length, 1 / sample_rate_hz)), 2).astype(np.float32)
    window = np.hanning(length + 1)[:-1].astype(np.float32)
    energy = np.empty(len(frames))
    for first in range(0, len(frames), FRAMES_AT_A_TIME):
        # SciPy's, which takes several frames at once, in float32 half as long as in float64.
        parts = rfft(frames[first : first + FRAMES_AT_A_TIME] * window, overwrite_x=True).view(np.float32)
        energy[first : first + FRAMES_AT_A_TIME] = np.einsum("ij,j->i", np.square(parts, out=parts), weights)
    if not energy.any():
        return 0.0
    # The energy's own mean, as in the model: silence, which has none, cannot move it.
    reference = np.square(energy).sum() / energy.sum()
    return float(np.mean(energy > reference * 10 ** (-LOUD_RANGE_DB / 10)))


def _weights(frequency_hz: np.ndarray) -> np.ndarray:
    """What each frequency counts in the sum of mel bands: from 1 kHz on, bands get wider and their filters lower."""
    inside = (frequency_hz >= LOWEST_HZ) & (frequency_hz <= HIGHEST_HZ)
    return np.where(inside, 1000 / np.maximum(frequency_hz, 1000), 0.0)
