"""What a table of accuracy says of scored clips."""

from pathlib import Path

import numpy as np

from beam_jobs.dataset import read_dataset_info

BINS = 10


def length_name(dataset: Path) -> str:
    """`60s` for a dataset of clips of 60 s."""
    return f"{read_dataset_info(str(dataset)).clips.duration_s:g}s"


def scores_of(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Accuracy and expected calibration error (ten bins of confidence) of probabilities [clips, classes]."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = {number: abs(confidence[bin_of == number].mean() - right[bin_of == number].mean()) for number in set(bin_of)}
    ece = sum(gap * np.mean(bin_of == number) for number, gap in gaps.items())
    return {"accuracy": float(right.mean()), "ece": float(ece), "clips": len(labels)}
