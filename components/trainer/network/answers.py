# SPDX-License-Identifier: Apache-2.0
"""What the model says about a recording, and what it is like."""

from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What the model says about one recording.

    Attributes:
        probabilities: float32 [classes], uniform where there is no speech or an error.
        speech: float32, share of the recording that is speech, 0 to 1.
        duration_s: float32.
        error: string, one line, empty where all is well.
    """

    probabilities: Any
    speech: Any
    duration_s: Any
    error: Any


class Steps(NamedTuple):
    """What the model says about each step of `STEP_S` of a recording, the first of which begins with it.

    Attributes:
        pooled: float32 [steps, pooled classes], what `pool_windows_by_step` gives.
        weights: float32 [steps], how much `pooled` counts in the whole recording's answer.
        speech: float32 [steps], share of each step that is speech, 0 to 1; 0 where less than `MIN_PURITY` of what the windows
            that hear it hold is speech.
    """

    pooled: Any
    weights: Any
    speech: Any


class Measures(NamedTuple):
    """What a recording is like, in a few numbers: what a drift is seen by (`components.watch`). Zeros where there is no speech.

    Attributes:
        level_dbfs: float32, as it was recorded.
        clipping: float32, as in `Survey`.
        band_hz: float32, the middle of the highest mel band that is less than `BAND_RANGE_DB` below the loudest.
        mel: float32 [mel], mean decibels of the frames that are heard, at the level that the network hears them.
        embedding: float32 [2 * model.embedding], what the network makes of its windows, a mean weighed by their speech.
    """

    level_dbfs: Any
    clipping: Any
    band_hz: Any
    mel: Any
    embedding: Any


class Heard(NamedTuple):
    """An answer before `class_probabilities`.

    Attributes:
        pooled: what `pool_windows` gives; zeros where there is no speech.
        speech, duration_s, error: as in `Answer`.
        steps: of the timeline.
        measures: of the recording.
    """

    pooled: Any
    speech: Any
    duration_s: Any
    error: Any
    steps: Steps
    measures: Measures
