# SPDX-License-Identifier: Apache-2.0
"""How often the gate's intervals hold the truth, in simulated test splits with few speakers and few mistakes."""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np

from components.gate.intervals import SpeakerDraws, estimate_of, sample

SPEAKERS = (5, 10, 25, 50)
ERRORS = (0.0, 0.01, 0.02, 0.05, 0.1)
CLIPS_OF_A_SPEAKER = 8
DRAWS = 200
KEY = ("accuracy", None)
CONFIDENCE = 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--alike", type=float, default=0.5, help="Share of the variance that is the speaker's, 0 to 1.")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    print("speakers  errors  here: held, width    percentiles: held, width")
    for speakers, errors in itertools.product(SPEAKERS, ERRORS):
        found = coverage(speakers, errors, arguments.alike, arguments.trials)
        rows.append({"speakers": speakers, "errors": errors, **found})
        here, percentiles = (f"{one['held']:.2f}  {one['width']:.2f}" for one in found.values())
        print(f"{speakers:8}  {errors:6.0%}  {here:>18}  {percentiles:>24}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"trials": arguments.trials, "alike": arguments.alike, "rows": rows}, indent=1))


def coverage(speakers: int, errors: float, alike: float, trials: int) -> dict[str, dict[str, float]]:
    """Shares of the trials whose interval held the truth, and mean widths: of the gate's, and of the bootstrap's percentiles."""
    rng = np.random.default_rng([speakers, round(1000 * errors)])
    speaker = np.repeat(np.arange(speakers), CLIPS_OF_A_SPEAKER)
    labels, everything = np.zeros(len(speaker), np.int64), np.ones(len(speaker), bool)
    spread = (1 - alike) / alike
    held, width = dict.fromkeys(("here", "percentiles"), 0), dict.fromkeys(("here", "percentiles"), 0.0)
    for trial in range(trials):
        rates = rng.beta(errors * spread, (1 - errors) * spread, speakers) if errors else np.zeros(speakers)
        right = rng.random(len(speaker)) >= rates[speaker]
        scores = np.stack([right, ~right], axis=1).astype(float)
        drawn = sample(SpeakerDraws([(str(k),) for k in speaker], DRAWS, trial), labels, scores, everything)
        found = estimate_of(float(right.mean()), drawn, KEY, CONFIDENCE)
        tail = (1 - CONFIDENCE) / 2
        for name, (low, high) in {
            "here": (found.low or 0.0, found.high or 0.0),
            "percentiles": np.quantile(drawn.values[KEY], [tail, 1 - tail]),
        }.items():
            held[name] += low <= 1 - errors <= high
            width[name] += high - low
    return {name: {"held": held[name] / trials, "width": width[name] / trials} for name in held}


if __name__ == "__main__":
    main()
