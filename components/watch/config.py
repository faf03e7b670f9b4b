# SPDX-License-Identifier: Apache-2.0
"""When `audio-gender watch` sounds an alarm."""

from typing import Annotated

from pydantic import Field

from beam_jobs.config import Share, Strict

Distance = Annotated[float, Field(gt=0, le=1)] | None


class DriftThresholds(Strict):
    """How far a measure may be from the reference, 0 (the same) to 1; null only shows it.

    Jensen-Shannon divergence of numbers, L-infinity of the labels, both by TFDV; of embeddings the energy coefficient
    (docs/watching.md).
    """

    duration_s: Distance = None
    """Duration; not judged by default, because clips all have the same length and recordings do not."""
    speech: Distance = 0.25
    """Share of the recording that is speech."""
    level_dbfs: Distance = 0.25
    """Level of the recording."""
    clipping: Distance = 0.25
    """Share of clipped samples."""
    band_hz: Distance = 0.25
    """Highest frequency of the recording."""
    mel: Distance = 0.25
    """Each of eight groups of mel bands."""
    confidence: Distance = 0.25
    """Probability of the label that is given."""
    label: Distance = 0.2
    """Frequency of each label, by L-infinity."""
    embedding: Distance = 0.05
    """Embeddings of the voices, by the energy coefficient."""


class WatchConfig(Strict):
    """When `audio-gender watch` raises an alarm: a distance is above its threshold and unlikely to be chance."""

    min_requests: Annotated[int, Field(ge=20)] = 100
    """Requests with speech; with fewer, nothing is judged."""
    significance: Annotated[float, Field(gt=0, le=0.2)] = 0.005
    """The probability of any alarm at all, had nothing changed: each measure's p-value is corrected by Holm's method."""
    drift: DriftThresholds = DriftThresholds()
    """How far each measure may be from the reference before there is an alarm ([watching](../watching.md))."""
    max_accuracy_drop: Share | None = 0.05
    """How far the interval of the expected accuracy may be, as a whole, below the accuracy on the reference."""
    max_skew: Annotated[float, Field(gt=0)] | None = 1e-5
    """Largest allowed difference between training's and the server's results for the canary recording."""
    quiet_days: Annotated[float, Field(ge=0, le=365)] = 7.0
    """For how many days after a retraining that finished `watch --retrain` starts no other."""
