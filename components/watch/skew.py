# SPDX-License-Identifier: Apache-2.0
"""Whether a server hears what the training heard: one recording, asked again and again, against what was known of it."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from beam_jobs.errors import UserError
from components.watch.measured import measured_answers
from components.watch.records import CANARY, Record, read_reference

VECTORS = ("mel", "embedding", "probabilities")


@lru_cache(maxsize=4)
def canary_of(folder: Path) -> Record | None:
    """What the training said of a model's canary; None where the model has none."""
    try:
        return next((record for record in read_reference(folder) if record.path == CANARY), None)
    except (UserError, OSError):
        return None


def canary_record(folder: Path, measured: Callable[..., Any]) -> tuple[Record, float] | None:
    """What a loaded model says of its canary now, and its skew.

    Args:
        folder: of the model.
        measured: its signature of that name.

    Returns:
        None where the model has no canary.
    """
    expected = canary_of(folder)
    if expected is None:
        return None
    (answer,) = measured_answers(measured(wav=tf.constant([expected.audio])))
    record = Record(path=CANARY, name=expected.name, **answer)
    return record, skew(record, expected)


def skew(found: Record, expected: Record) -> float:
    """The greatest difference of a feature or a probability, relative to the greatest of its kind where that is above 1.

    Of vectors that both have: a log may be kept without some. Infinity where one says no speech and the other does not.
    """
    if found.measured != expected.measured:
        return float("inf")
    worst = 0.0
    for name in VECTORS:
        here, there = getattr(found, name).astype(np.float64), getattr(expected, name).astype(np.float64)
        if len(here) and len(there):
            if here.shape != there.shape:
                return float("inf")
            worst = max(worst, float(np.max(np.abs(here - there)) / max(1.0, float(np.max(np.abs(there))))))
    return worst
