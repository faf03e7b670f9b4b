"""What the pipeline itself computed for the clips that the serving check asks about."""

from collections.abc import Sequence

import numpy as np

from beam_jobs.examples import decode_clip
from components.evaluator.predictions import read_predictions


def expected_predictions(evaluation_uri: str, records: Sequence[bytes]) -> np.ndarray:
    """The candidate's probabilities as Evaluator wrote them, for clips of the test split: float32 [clips, classes]."""
    predictions = read_predictions(evaluation_uri)
    row = {clip_id: number for number, clip_id in enumerate(predictions.ids)}
    expected: np.ndarray = predictions.candidate[[row[decode_clip(record).id] for record in records]]
    return expected
