# SPDX-License-Identifier: Apache-2.0
"""A recording that is still going on, answered second by second."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from beam_jobs.audio import AudioError
from beam_jobs.audio_stream import AudioStream
from beam_jobs.labels import NO_SPEECH
from components.inference.answers import MIN_STEP_SPEECH, STEP_S
from components.inference.model import Model

MEMORY_S = 6
"""What is heard of the past with each second: two windows of the network, so that a pause does not make noise loud."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The answer for a second, or for the rest at the end, in seconds from the beginning.

    Attributes:
        start_s: where it begins.
        end_s: where it ends.
        label: a class, "no speech" or "uncertain".
        probabilities: of each class, of the three seconds or so before its end; all equal if there is no speech.
        speech: share of it that is speech.
    """

    start_s: float
    end_s: float
    label: str
    probabilities: dict[str, float]
    speech: float


def listen(model: Model, stream: AudioStream) -> Iterator[Moment]:
    """Answers for each second of a stream as soon as it is there.

    Raises:
        UserError: the model was exported before there were timelines.
        AudioError: the stream is empty, cannot be decoded, holds NaN or infinity, or has a rate that the model does not support.

    >>> from beam_jobs.audio_stream import open_audio
    >>> from components.inference import load_model
    >>> with open_audio("voice.flac") as stream:
    ...     [(moment.start_s, moment.end_s) for moment in listen(load_model("work/serving"), stream)]
    [(0.0, 1.0), (1.0, 2.0)]
    """
    model.check_timeline()
    rate_hz, per_second = stream.sample_rate_hz, round(1 / STEP_S)
    before, start_s = np.zeros(0, np.float32), 0.0
    while len(second := stream.read(rate_hz)):
        heard = np.concatenate([before, second])
        answer = model.ask("timeline", heard, rate_hz)
        if answer["error"]:
            raise AudioError(answer["error"].decode())
        first = len(before) // rate_hz * per_second
        yield _moment(model, answer["step_probabilities"][first:], answer["step_speech"][first:], start_s, len(second) / rate_hz)
        before, start_s = heard[-(MEMORY_S - 1) * rate_hz :], start_s + 1
    if not start_s:
        raise AudioError("holds no samples")


def _moment(model: Model, probabilities: np.ndarray, speech: np.ndarray, start_s: float, length_s: float) -> Moment:
    lengths = np.minimum(length_s - STEP_S * np.arange(len(speech)), STEP_S)
    share = float(np.average(speech, weights=lengths))
    if speech.max() < MIN_STEP_SPEECH:
        mean, label = np.full(len(model.classes), 1 / len(model.classes)), NO_SPEECH
    else:
        mean = np.average(probabilities, axis=0, weights=speech)
        label = model.label(mean)
    return Moment(start_s, start_s + length_s, label, dict(zip(model.classes, map(float, mean), strict=True)), share)
