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
    min_auc: Share | None
    min_recall: Share | None
    max_ece: Share | None
    max_accuracy_loss: Share | None
    max_auc_loss: Share | None
    max_recall_loss: Share | None
    max_ece_rise: Share | None


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
    """A model is pushed only where all of these hold on the test split."""

    overall: OverallThresholds = OverallThresholds()
    slices: SliceThresholds = SliceThresholds()
    min_slice_clips: Annotated[int, Field(ge=1)] = 30
    """A figure on a slice that rests on fewer clips is reported and does not decide."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    bootstrap_samples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    decide_on: Literal["estimate", "lower_bound"] = "estimate"
    """`lower_bound` holds the pessimistic end of each interval against the thresholds (for `ece` the upper end)."""
    robustness: dict[Degradation, RobustnessThresholds] = {}
    """On what the section `robustness` of a run's configuration measures."""

    @field_validator("robustness", mode="before")
    @classmethod
    def _known(cls, thresholds: Any) -> Any:
        for name in thresholds if isinstance(thresholds, dict) else ():
            if name not in NAMES:
                raise ValueError(f"there is no degradation {name}; known here: {', '.join(sorted(NAMES))}")
        return thresholds
