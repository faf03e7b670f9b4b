# SPDX-License-Identifier: Apache-2.0
"""What was seen of a new version beside another, and what is decided from it."""

import statistics
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from components.pusher.config import CanaryConfig, RollbackConfig

FAILURES_OF_CANDIDATE = 3
"""At which nobody waits for more requests."""
LEAST_FAILURES = 5
"""Of a version in serving, below which they may be chance."""
LEAST_SLOWDOWN_S = 0.005
"""A difference of latencies that no client notices, and that a busy machine makes by itself."""
LEAST_TIMES = 20
"""Below which latencies are not compared."""


@dataclass
class Tally:
    """Counts of one trial; of pairs the first is the new version's, the second the other's."""

    asked: int = 0
    """Questions of clients that the new version was asked."""
    failures: int = 0
    """Of these, and of those asked beside them: what it failed and the other version did not."""
    reason: str = ""
    """Of the last failure."""
    compared: int = 0
    """Questions that both answered."""
    rows: int = 0
    """Answers to these."""
    agreed: int = 0
    labels: tuple[Counter[bytes], Counter[bytes]] = field(default_factory=lambda: (Counter(), Counter()))
    scores: tuple[list[np.ndarray], list[np.ndarray]] = field(default_factory=lambda: ([], []))
    seconds: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))


@dataclass(frozen=True)
class Verdict:
    """How a trial ends."""

    good: bool
    why: str


def judge_candidate(tally: Tally, config: CanaryConfig, other: int) -> Verdict | None:
    """What is decided about a candidate beside version `other`; None while it is too early."""
    if tally.failures >= FAILURES_OF_CANDIDATE:
        return Verdict(False, f"{tally.failures} requests failed ({tally.reason})")
    if tally.compared < config.requests:
        return None
    agreement = f"agrees with version {other} on {tally.agreed} of {tally.rows} answers"
    if tally.agreed < config.min_agreement * tally.rows:
        return Verdict(False, agreement)
    new, old = tally.labels
    if (shift := max(abs(new[label] - old[label]) for label in {*new, *old}) / tally.rows) > config.max_label_shift:
        return Verdict(False, f"the share of a label moves by {shift:.0%}")
    if (shift := score_shift(tally)) > config.max_score_shift:
        return Verdict(False, f"its probabilities differ by {shift:.2f} from those of version {other}")
    if slow := _slow(tally, config.max_slowdown, other):
        return Verdict(False, slow)
    return Verdict(True, agreement)


def judge_in_serving(tally: Tally, config: RollbackConfig, other: int) -> Verdict | None:
    """What is decided about a version in serving, before which was version `other`; None while it is watched on."""
    failed = f"{tally.failures} of {tally.asked} requests failed"
    if tally.failures >= LEAST_FAILURES and tally.failures > config.max_failures * tally.asked:
        return Verdict(False, f"{failed} ({tally.reason})")
    if slow := _slow(tally, config.max_slowdown, other):
        return Verdict(False, slow)
    return Verdict(True, failed) if tally.asked >= config.requests else None


def score_shift(tally: Tally) -> float:
    """How far the distributions of the two versions' probabilities are apart: Wasserstein's distance, the greatest of a class."""
    new, old = (np.sort(np.concatenate(found), axis=0) for found in tally.scores)
    return float(np.abs(new - old).mean(axis=0).max()) if new.shape == old.shape else 1.0


def _slow(tally: Tally, max_slowdown: float, other: int) -> str:
    if len(tally.seconds[0]) < LEAST_TIMES:
        return ""
    new, old = map(statistics.median, tally.seconds)
    if new <= max(max_slowdown * old, old + LEAST_SLOWDOWN_S):
        return ""
    return f"answers in {1000 * new:.0f} ms, and version {other} in {1000 * old:.0f} ms"
