# SPDX-License-Identifier: Apache-2.0
"""How much of a clip is speech, measured by its energy as the model's own mask of silence is.

A clip is mixed of utterances of speech, so what is loud in it is speech. How much of it utterances cover says less: they have
pauses and silent ends, and half of a clip that they cover wholly may be silent.
"""

import numpy as np

from beam_jobs.silence import LOUD_RANGE_DB

FRAME_S, HOP_S = 0.032, 0.02
"""Of the model's spectrogram at 16 kHz."""
LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0
"""Of its mel bands: the hum of the mains is no speech."""
FRAMES_AT_A_TIME = 512


def speech_ratio(pcm16: np.ndarray, sample_rate_hz: int) -> float:
    """The share of a clip's frames that are not more than `LOUD_RANGE_DB` below its loud parts, 0 to 1.

    Args:
        pcm16: mono int16 [samples].
        sample_rate_hz: of the clip.
    """
    length, hop = (max(1, round(seconds * sample_rate_hz)) for seconds in (FRAME_S, HOP_S))
    samples = np.pad(pcm16, (0, max(0, length - len(pcm16))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]
    weights = _weights(np.fft.rfftfreq(length, 1 / sample_rate_hz))
    window = np.hanning(length + 1)[:-1]
    parts = (frames[first : first + FRAMES_AT_A_TIME] * window for first in range(0, len(frames), FRAMES_AT_A_TIME))
    energy = np.concatenate([np.square(np.abs(np.fft.rfft(part))) @ weights for part in parts])
    if not energy.any():
        return 0.0
    # The energy's own mean, as in the model: silence, which has none, cannot move it.
    reference = np.square(energy).sum() / energy.sum()
    return float(np.mean(energy > reference * 10 ** (-LOUD_RANGE_DB / 10)))


def _weights(frequency_hz: np.ndarray) -> np.ndarray:
    """What each frequency counts in the sum of mel bands: from 1 kHz on, bands get wider and their filters lower."""
    inside = (frequency_hz >= LOWEST_HZ) & (frequency_hz <= HIGHEST_HZ)
    return np.where(inside, 1000 / np.maximum(frequency_hz, 1000), 0.0)
