# SPDX-License-Identifier: Apache-2.0
"""What a model says about a recording, as it is handed to people: a label, and who speaks when."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from beam_jobs.labels import NO_SPEECH, UNCERTAIN
from components.decision_rule import over_thresholds, predicted_classes

STEP_S = 0.5
"""Resolution of a timeline."""

MIN_STEP_SPEECH = 0.2
"""Share of a step from which it counts as speech. Of one network: nine in ten steps within utterances of LibriSpeech are above it
(their own pauses are the rest), and none of 1,200 of noises, tones and synthetic music, because the model's own rule for what is
speech comes first."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one recording.

    Attributes:
        label: a class, "no speech" or "uncertain"; empty if there is an error.
        probabilities: of each class; all equal if there is no speech or an error.
        speech: share of the recording that is speech, 0 to 1.
        duration_s: its length; 0 if it is unknown.
        error: why there is no answer, in one line; empty if there is one.
    """

    label: str
    probabilities: dict[str, float]
    speech: float
    duration_s: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech, in seconds from the recording's beginning.

    Attributes:
        start_s: where it begins.
        end_s: where it ends.
        label: a class or "uncertain".
        probability: of that class; of the more probable one if the label is "uncertain".
    """

    start_s: float
    end_s: float
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Total:
    """Speaking time of one label, and its share of all speaking time."""

    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """Who speaks when.

    Attributes:
        prediction: the answer for the whole recording.
        segments: in order, without overlap; if there is none, nobody speaks.
        totals: by label: each class, and "uncertain" last.
    """

    prediction: Prediction
    segments: tuple[Segment, ...]
    totals: dict[str, Total]


def label_of(probabilities: np.ndarray, classes: Sequence[str], thresholds: np.ndarray, band: float) -> str:
    """The class by the model's decision thresholds, or "uncertain" if it leads the next by less than twice `band`.

    With two classes and even thresholds that is a probability below 0.5 + `band`; with others the lead is that of the
    probabilities relative to their thresholds, scaled to a sum of 1.

    Args:
        probabilities: float [classes].
        classes: their names.
        thresholds: of the classes, float [classes].
        band: 0 to 0.5.
    """
    scores = over_thresholds(probabilities, thresholds)
    second, first = np.sort(scores / scores.sum())[-2:]
    return UNCERTAIN if first - second < 2 * band else classes[int(predicted_classes(probabilities[np.newaxis], thresholds)[0])]


def find_segments(
    probabilities: np.ndarray,
    speech: np.ndarray,
    duration_s: float,
    classes: Sequence[str],
    thresholds: np.ndarray,
    band: float,
) -> tuple[Segment, ...]:
    """The stretches of steps that have one label.

    Args:
        probabilities: float [steps, classes].
        speech: share of each step that is speech, float [steps].
        duration_s: of the recording, in which the last step ends.
        classes: their names.
        thresholds: as in `label_of`.
        band: as in `label_of`.
    """
    labels = [
        label_of(row, classes, thresholds, band) if share >= MIN_STEP_SPEECH else NO_SPEECH
        for row, share in zip(probabilities, speech, strict=True)
    ]
    found = []
    for label, numbered in itertools.groupby(enumerate(labels), lambda item: item[1]):
        steps = [step for step, _ in numbered]
        if label == NO_SPEECH:
            continue
        mean = np.average(probabilities[steps], axis=0, weights=speech[steps])
        probability = mean.max() if label == UNCERTAIN else mean[classes.index(label)]
        end_s = min((steps[-1] + 1) * STEP_S, duration_s)
        found.append(Segment(steps[0] * STEP_S, end_s, label, float(probability)))
    return tuple(found)


def total_by_label(segments: Iterable[Segment], classes: Sequence[str]) -> dict[str, Total]:
    """Speaking time of each class and of "uncertain"."""
    seconds = dict.fromkeys([*classes, UNCERTAIN], 0.0)
    for segment in segments:
        seconds[segment.label] += segment.end_s - segment.start_s
    spoken = sum(seconds.values())
    return {label: Total(time, time / spoken if spoken else 0.0) for label, time in seconds.items()}
