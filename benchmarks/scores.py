# SPDX-License-Identifier: Apache-2.0
"""How far probabilities are from what they promise."""

import numpy as np

BINS = 10


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error in ten bins of equal width (Guo et al., 2017): `confidence` of the answers and whether
    each was right, [answers] both.
    """
    bin_of = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = {number: abs(confidence[bin_of == number].mean() - right[bin_of == number].mean()) for number in set(bin_of)}
    return float(sum(gap * np.mean(bin_of == number) for number, gap in gaps.items()))
