# SPDX-License-Identifier: Apache-2.0
"""How many of the labels are right, told from the probabilities alone.

Of a calibrated model, the mean probability of the labels that it gives is the share of them that is right (confidence-based
performance estimation, as NannyML has it). It knows nothing of what the model does not see: docs/watching.md says how far off
it was on degraded recordings.
"""

import math
from collections.abc import Sequence

from pydantic import BaseModel

from components.watch.measures import confidence
from components.watch.records import Record

Z95 = 1.96


class ExpectedAccuracy(BaseModel):
    """Shares, 0 to 1; `low` and `high` are the ends of a 95 % interval.

    `reference` is the accuracy on the reference's clips, whose labels are known, and `reference_expected` what would have been
    expected there. The interval counts in chance on both sides, and how far the expectation is off on the reference.
    """

    value: float
    low: float
    high: float
    reference: float
    reference_expected: float
    alarm: bool = False


def expect_accuracy(mean: float, variance: float, requests: int, reference: Sequence[Record]) -> ExpectedAccuracy:
    """Of requests with speech.

    Args:
        mean: of the probabilities of their labels.
        variance: the mean of p (1 - p) of these.
        requests: how many.
        reference: clips with speech whose labels are known.
    """
    right = [record.classes.index(record.label) == record.truth for record in reference]
    expected = [confidence(record) for record in reference]
    accuracy, there = sum(right) / len(right), sum(expected) / len(expected)
    # How sure we are that the model is calibrated: the reference's own misses around their expectation.
    spread = sum((float(was) - chance - accuracy + there) ** 2 for was, chance in zip(right, expected, strict=True))
    calibration = spread / len(right) ** 2 + (accuracy - there) ** 2
    error = Z95 * math.sqrt(variance / requests + calibration)
    return ExpectedAccuracy(
        value=mean, low=max(0.0, mean - error), high=min(1.0, mean + error), reference=accuracy, reference_expected=there
    )
