# SPDX-License-Identifier: Apache-2.0
"""One self-contained page with the timelines of some recordings: waveform, who speaks when, a player."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beam_jobs.audio import AudioError, resample
from beam_jobs.audio_stream import open_audio
from beam_jobs.html_pages import player_source, render_page
from beam_jobs.labels import UNCERTAIN
from beam_jobs.mixing import Samples
from components.inference.answers import Timeline
from components.inference.model import Model

MAX_RECORDINGS = 20
MAX_HEARD_S = 600
"""What the player holds of a recording, about 2 MB: an hour would make a page that no browser opens."""
HEARD_RATE_HZ = 16_000
MAX_LISTED = 1000
"""Segments in a recording's list."""
COLUMNS = 800
"""Of a waveform."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording that was heard: its name, the path where it lies, and what the model says."""

    name: str
    path: str
    timeline: Timeline


def timelines_page(recordings: Sequence[Recording], model: Model) -> str:
    """The page, of the first `MAX_RECORDINGS`."""
    return render_page(
        "timelines.html",
        model=model,
        total=len(recordings),
        labels=[*model.classes, UNCERTAIN],
        uncertain=UNCERTAIN,
        cards=[_card(recording) for recording in recordings[:MAX_RECORDINGS]],
        max_listed=MAX_LISTED,
        clock=clock,
    )


def clock(seconds: float) -> str:
    """A time to read: 1:02.5, or 1:00:02.5 from an hour on."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{start}:{rest // 10:02d}.{rest % 10}"


def _card(recording: Recording) -> dict[str, Any]:
    answer = recording.timeline.prediction
    card: dict[str, Any] = {"name": recording.name, "timeline": recording.timeline, "answer": answer, "problem": answer.error}
    if not answer.error:
        try:
            peaks, heard, rate_hz = _draw(recording.path, answer.duration_s)
        except AudioError as error:  # it was changed after it was heard
            return {**card, "problem": str(error)}
        card |= {"wave": _outline(peaks), "player": player_source(heard, rate_hz), "heard_s": len(heard) / rate_hz}
    return card


def _draw(path: str, duration_s: float) -> tuple[np.ndarray, Samples, int]:
    """The peak of each column, float [COLUMNS]; the first `MAX_HEARD_S` and their rate."""
    peaks, heard, position = np.zeros(COLUMNS), [], 0
    with open_audio(path) as stream:
        rate_hz, total = stream.sample_rate_hz, max(1, round(duration_s * stream.sample_rate_hz))
        while len(block := stream.read(60 * rate_hz)):
            columns = np.minimum((position + np.arange(len(block))) * COLUMNS // total, COLUMNS - 1)
            np.maximum.at(peaks, columns, np.abs(block))
            if position < MAX_HEARD_S * rate_hz:
                heard.append(block)
            position += len(block)
    if not heard:
        raise AudioError("holds no samples")
    samples = np.concatenate(heard)[: MAX_HEARD_S * rate_hz]
    if rate_hz <= HEARD_RATE_HZ:
        return peaks, samples, rate_hz
    return peaks, resample(samples, rate_hz, HEARD_RATE_HZ), HEARD_RATE_HZ


def _outline(peaks: np.ndarray) -> str:
    """An SVG path of a waveform that fills a picture of `COLUMNS` by 100, whatever its level."""
    heights = np.maximum(48 * peaks / max(peaks.max(), 1e-9), 0.5)
    upper = [f"{column} {50 - height:.1f}" for column, height in enumerate(heights)]
    lower = [f"{column} {50 + height:.1f}" for column, height in enumerate(heights)]
    return f"M{' '.join(upper)} {' '.join(reversed(lower))}Z"
