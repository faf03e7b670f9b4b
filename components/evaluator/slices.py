# SPDX-License-Identifier: Apache-2.0
"""The slices of the test split: one for each value of each of six features."""

import math
from collections.abc import Sequence

import numpy as np

from beam_jobs.corpus.index import FEEDBACK, FEEDBACK_ID
from beam_jobs.examples import LABEL, MODE, NUM_SPEAKERS
from components.evaluator.predictions import Predictions

LOUDNESS = "loudness"
SPEECH = "speech"
SUBSET = "subset"
FEATURES = {LABEL: "label", MODE: "mode", NUM_SPEAKERS: "speakers", LOUDNESS: LOUDNESS, SPEECH: SPEECH, SUBSET: SUBSET}
"""Short names of the features that are sliced by; the last three are made from `clip/rms_dbfs`, `clip/speech_ratio` and
`clip/utterance_ids`."""
ALL = "all"

LOUDNESS_STEP_DB = 6
SPEECH_STEP_PERCENT = 20


def loudness(rms_dbfs: float) -> str:
    """The bucket of a clip's loudness, such as `-30..-24 dBFS`; the upper end is not in it."""
    low = LOUDNESS_STEP_DB * math.floor(rms_dbfs / LOUDNESS_STEP_DB)
    return f"{low}..{low + LOUDNESS_STEP_DB} dBFS"


def speech(ratio: float) -> str:
    """The bucket of a clip's share of speech, such as `60..80 %`; the upper end is in the last bucket only."""
    buckets = 100 // SPEECH_STEP_PERCENT
    low = SPEECH_STEP_PERCENT * min(math.floor(ratio * buckets), buckets - 1)
    return f"{low}..{low + SPEECH_STEP_PERCENT} %"


def subset(utterance_ids: Sequence[str]) -> str:
    """`feedback` where one of a clip's recordings at least is of that subset; else empty, which makes no slice."""
    return FEEDBACK if any(id.startswith(FEEDBACK_ID) for id in utterance_ids) else ""


def slices_of(predictions: Predictions, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Which clips each slice holds: bool [clips] by the slice's name; `all` first, then by feature and value.

    A feature that is the same in all clips makes no slice: it would be `all` once more.
    """
    found = {ALL: np.ones(len(predictions.ids), bool)}
    for feature, values in _columns(predictions, classes).items():
        if len(set(values)) < 2:
            continue
        array = np.array(values, dtype=str)
        in_order = classes if feature == "label" else sorted(set(values), key=lambda text: (_number(text), text))
        for value in (value for value in in_order if value and value in values):
            found[f"{feature}={value}"] = array == value
    return found


def same_in_all(predictions: Predictions, classes: Sequence[str]) -> dict[str, str]:
    """The features that make no slice, with the value that all clips have."""
    columns = _columns(predictions, classes)
    return {feature: values[0] for feature, values in columns.items() if len(set(values)) == 1 and values[0]}


def _columns(predictions: Predictions, classes: Sequence[str]) -> dict[str, list[str]]:
    return {
        "label": [classes[label] for label in predictions.labels],
        "mode": predictions.modes,
        "speakers": [str(number) for number in predictions.num_speakers],
        LOUDNESS: [loudness(float(value)) for value in predictions.rms_dbfs],
        SPEECH: [speech(float(value)) for value in predictions.speech_ratio],
        SUBSET: [subset(ids) for ids in predictions.utterance_ids],
    }


def _number(text: str) -> float:
    try:
        return float(text.split("..")[0])
    except ValueError:
        return 0.0
