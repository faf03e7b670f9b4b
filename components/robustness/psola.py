# SPDX-License-Identifier: Apache-2.0
"""Pitch and formants moved apart by TD-PSOLA (Moulines and Charpentier, 1990).

Two periods around each pitch mark are cut out, and laid down again at another distance. The training's own voices are WORLD's, so
these are strange to it.
"""

from collections.abc import Iterator

import librosa
import numpy as np
from scipy import signal

HOP_S, FRAME_S = 0.01, 0.064
PITCH_HZ = (60.0, 500.0)
LOWEST_HZ = 70.0
UNVOICED_STEP_S = 0.005
"""Between the marks where nothing is voiced; there nothing is moved."""
MIN_PERIODICITY = 0.5
"""Correlation of two neighbouring periods from which on a frame is voiced."""
SPEECH_RANGE_DB = 32.0


def move_voice(samples: np.ndarray, rate_hz: int, pitch: float, formants: float = 1.0) -> np.ndarray:
    """Multiplies the pitch and the formants of a voice; its length and its rhythm stay.

    Args:
        samples: float32 [samples].
        rate_hz: their rate.
        pitch: factor of the pitch.
        formants: factor of the formants.

    Returns:
        float32 [samples].
    """
    # Hum, cut up and laid down anew, would sound like a voice of its own.
    samples = signal.sosfiltfilt(signal.butter(4, LOWEST_HZ, "high", fs=rate_hz, output="sos"), samples)
    periods = _periods(samples, rate_hz)
    marks = np.fromiter(_marks(samples, periods, rate_hz), int)
    between = (marks[1:] + marks[:-1]) / 2
    step = round(UNVOICED_STEP_S * rate_hz)
    moved, weight = np.zeros(len(samples)), np.zeros(len(samples))
    position = 0.0
    while position < len(samples):
        mark = marks[np.searchsorted(between, position)]
        period = _at(mark, periods, rate_hz)
        if period:
            _lay_down(samples, mark, period, formants, round(position), moved, weight)
            position += period / pitch
        else:  # it stays where it is
            _lay_down(samples, round(position), step, 1.0, round(position), moved, weight)
            position += step
    return (moved / np.maximum(weight, 0.5)).astype(np.float32)


def _periods(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Int [frames]: the period in samples, 0 where nothing is voiced."""
    # A quarter and half of a frame must be whole: librosa pads by halves.
    hop, frame = round(HOP_S * rate_hz), 4 * round(FRAME_S * rate_hz / 4)
    # Breath hides a voice above.
    tone = signal.sosfiltfilt(signal.butter(2, [80, 1000], "band", fs=rate_hz, output="sos"), samples)
    low, high = PITCH_HZ
    pitch = librosa.yin(tone, fmin=low, fmax=high, sr=rate_hz, frame_length=frame, hop_length=hop)
    periods = np.rint(rate_hz / signal.medfilt(pitch, 5)).astype(int)
    level = librosa.amplitude_to_db(librosa.feature.rms(y=tone, frame_length=frame // 2, hop_length=hop)[0], ref=np.max)
    padded = np.pad(tone, frame)
    for number, period in enumerate(periods):
        start = number * hop + frame - (frame // 2 + period) // 2
        one, other = padded[start : start + frame // 2], padded[start + period : start + period + frame // 2]
        alike = one @ other / np.sqrt(one @ one * (other @ other) + 1e-12)
        if level[number] < -SPEECH_RANGE_DB or alike < MIN_PERIODICITY:
            periods[number] = 0
    return periods


def _at(mark: int, periods: np.ndarray, rate_hz: int) -> int:
    """The period around a sample."""
    return int(periods[min(mark // round(HOP_S * rate_hz), len(periods) - 1)])


def _marks(samples: np.ndarray, periods: np.ndarray, rate_hz: int) -> Iterator[int]:
    """A mark on the highest peak of each period, and one every 5 ms where nothing is voiced."""
    mark, voiced = 0, False
    step = round(UNVOICED_STEP_S * rate_hz)
    while mark < len(samples):
        yield mark
        period = _at(mark, periods, rate_hz)
        if not period:
            mark, voiced = mark + step, False
            continue
        # The first mark of a voice may lie anywhere in a period, the next ones a period on, but for what the pitch drifts.
        start = mark + (round(0.8 * period) if voiced else 1)
        stop = mark + (round(1.2 * period) if voiced else period) + 1
        mark, voiced = start + (int(np.argmax(samples[start:stop])) if start < len(samples) else 0), True


def _lay_down(
    samples: np.ndarray, mark: int, period: int, formants: float, position: int, moved: np.ndarray, weight: np.ndarray
) -> None:
    """Adds the two periods around `mark` at `position`, shortened by the factor of the formants."""
    half = max(2, round(period / formants))
    window = np.hanning(2 * half + 1)
    grain = np.interp(mark + np.arange(-half, half + 1) * formants, np.arange(len(samples)), samples) * window
    start, stop = max(0, position - half), min(len(moved), position + half + 1)
    part = slice(start - position + half, stop - position + half)
    moved[start:stop] += grain[part]
    weight[start:stop] += window[part]
