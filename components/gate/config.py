# SPDX-License-Identifier: Apache-2.0
"""The gate's thresholds."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from beam_jobs.config import Share, Strict
from components.robustness.config import NAMES, Degradation, RobustnessThresholds


class Thresholds(Strict):
    """Thresholds on some clips; null for one that is not checked.

    The first four hold for the candidate itself, the others for its change from the model in serving. AUC and recall are of
    every class.
    """

    min_accuracy: Share | None
    """Lowest accuracy."""
    min_auc: Share | None
    """Lowest AUC of any class."""
    min_recall: Share | None
    """Lowest recall of any class."""
    max_ece: Share | None
    """Highest expected calibration error."""
    max_accuracy_loss: Share | None
    """Largest drop in accuracy from the model in serving."""
    max_auc_loss: Share | None
    """Largest drop in any class's AUC."""
    max_recall_loss: Share | None
    """Largest drop in any class's recall."""
    max_ece_rise: Share | None
    """Largest rise of the expected calibration error."""


class OverallThresholds(Thresholds):
    """On the whole test split."""

    min_accuracy: Share | None = 0.95
    min_auc: Share | None = 0.95
    min_recall: Share | None = 0.9
    max_ece: Share | None = 0.15
    max_accuracy_loss: Share | None = 0.0
    max_auc_loss: Share | None = 0.01
    max_recall_loss: Share | None = 0.02
    max_ece_rise: Share | None = 0.05


class SliceThresholds(Thresholds):
    """On every value of every feature that is sliced by."""

    min_accuracy: Share | None = 0.85
    min_auc: Share | None = 0.85
    min_recall: Share | None = 0.75
    max_ece: Share | None = 0.25
    max_accuracy_loss: Share | None = 0.05
    max_auc_loss: Share | None = 0.05
    max_recall_loss: Share | None = 0.1
    max_ece_rise: Share | None = 0.1


class GateConfig(Strict):
    """A model is blessed if none of these fails on the test split; thresholds on too few clips are undecided and do not count."""

    overall: OverallThresholds = OverallThresholds()
    """On the whole test split; null switches a threshold off."""
    slices: SliceThresholds = SliceThresholds()
    """On every label, mode, number of speakers, loudness and share of speech, and on clips with feedback."""
    min_slice_clips: Annotated[int, Field(ge=1)] = 30
    """A figure that rests on fewer clips of a slice is reported but does not decide."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Confidence level of the intervals."""
    bootstrap_samples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """How often speakers are resampled for the intervals."""
    decide_on: Literal["estimate", "lower_bound"] = "estimate"
    """`lower_bound` compares the pessimistic end of each interval with the thresholds (for `ece` the upper end)."""
    robustness: dict[Degradation, RobustnessThresholds] = {}
    """Thresholds on degraded clips, by degradation, such as `telephone: {min_accuracy: 0.85, max_ece: 0.15, max_strength: 2}`
    ([the gate](../gate.md#degraded-clips))."""

    @field_validator("robustness", mode="before")
    @classmethod
    def _known(cls, thresholds: Any) -> Any:
        for name in thresholds if isinstance(thresholds, dict) else ():
            if name not in NAMES:
                raise ValueError(f"there is no degradation {name}; choose from {', '.join(sorted(NAMES))}")
        return thresholds
