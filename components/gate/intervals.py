# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals by a bootstrap over speakers, and exact ones where a bootstrap is too sure.

The clips of one speaker are alike, so a bootstrap over clips would give intervals that are much too narrow. Here speakers are
drawn, with replacement, and every clip's weight follows how often its speakers were drawn. Where hardly any clip is wrong, the
draws hardly differ, and their percentiles say too much: accuracy and recall have the exact interval of a proportion instead, on
as many independent clips as the draws' variance is worth (Korn and Graubard, 1998). docs/gate.md has the reasons.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats

from components.evaluator.clip_metrics import Key, weigher
from components.gate.result import Estimate

MIN_SPEAKERS = 2
MIN_DEFINED_SHARE = 0.5
"""Share of the draws on which a metric must be defined for its interval to be given."""
BATCH_WEIGHTS = 2**21
"""Weights in memory at a time, 16 MB of them."""
RANGES = {"value": (0.0, 1.0), "difference": (-1.0, 1.0)}


class SpeakerDraws:
    """Draws of the test split's speakers, the same for every slice, metric and model, so that differences are paired.

    Args:
        speaker_ids: speakers of each clip; one who is heard twice in a clip counts once.
        samples: number of draws.
        seed: of the draws.
    """

    def __init__(self, speaker_ids: Sequence[Sequence[str]], samples: int, seed: int = 0) -> None:
        names = sorted({name for clip in speaker_ids for name in clip})
        number_of = {name: number for number, name in enumerate(names)}
        # Of a clip's row of all speakers, two or three are not zero.
        there = [(number_of[name], clip) for clip, speakers in enumerate(speaker_ids) for name in set(speakers)]
        rows, columns = zip(*there, strict=True) if there else ((), ())
        self._heard = sparse.csc_array((np.ones(len(there)), (rows, columns)), shape=(len(names), len(speaker_ids)))
        rng = np.random.default_rng(seed)
        self._surplus = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=samples) - 1.0

    def speakers(self, inside: np.ndarray) -> int:
        """How many speakers the clips of a slice have."""
        return int(np.count_nonzero(self._heard[:, inside].sum(axis=1)))

    def units(self, inside: np.ndarray) -> float:
        """How many clips of a slice can have nobody in common: its speakers, by how many of them a clip has on average."""
        heard = self._heard[:, inside]
        return float(np.count_nonzero(heard.sum(axis=1)) / max(heard.sum() / max(heard.shape[1], 1), 1))

    def weights(self, inside: np.ndarray) -> tuple[Iterator[np.ndarray], float]:
        """Weights of a slice's clips, batches of float64 [samples, clips], and the factor by which they understate deviations.

        A draw changes a clip's weight by the sum of (count - 1) over its speakers: then two clips vary together by the number
        of speakers that they share. With many speakers such a weight could be negative, so the changes are divided by
        the largest number of speakers in a clip, and the deviations of a metric are multiplied by it again (Rao and Wu,
        1988). Where each clip has one speaker, this is the plain bootstrap over speakers.
        """
        heard = self._heard[:, inside]
        factor = float(heard.sum(axis=0).max(initial=1))
        size = max(1, BATCH_WEIGHTS // max(1, heard.shape[1]))
        starts = range(0, len(self._surplus), size)
        return (1 + self._surplus[start : start + size] @ heard / factor for start in starts), factor


@dataclass(frozen=True, slots=True)
class SliceSamples:
    """Metrics of one model on one slice, float64 [samples] each, and what their intervals rest on.

    `factor` is that of `SpeakerDraws.weights`; `clips` and `units` are how many clips a metric is about, and how many of them
    can have nobody in common; `heard` is how many speakers these clips have (an AUC is about the clips of two sides: the fewer).
    """

    values: dict[Key, np.ndarray]
    factor: float
    speakers: int
    clips: dict[Key, int]
    units: dict[Key, float]
    heard: dict[Key, int]


def sample(
    draws: SpeakerDraws,
    labels: np.ndarray,
    probabilities: np.ndarray,
    inside: np.ndarray,
    thresholds: np.ndarray | None = None,
) -> SliceSamples:
    """The metrics on every draw, of the clips where `inside` (bool [clips]) holds; `thresholds` as of `weigher`."""
    weigh = weigher(labels[inside], probabilities[inside], thresholds)
    batches, factor = draws.weights(inside)
    found = [weigh(weights) for weights in batches]
    values = {key: np.concatenate([batch[key] for batch in found]) for key in found[0]}
    clips, units, heard = {}, {}, {}
    for metric, label in values:
        about = inside if metric in ("accuracy", "ece") else inside & (labels == label)
        sides = [about] if metric != "auc" else [about, inside & (labels != label)]  # with the label and without
        clips[metric, label] = int(about.sum())
        units[metric, label], heard[metric, label] = min(map(draws.units, sides)), min(map(draws.speakers, sides))
    return SliceSamples(values, factor, draws.speakers(inside), clips, units, heard)


def estimate_of(
    value: float | None, samples: SliceSamples, key: Key, confidence: float, minus: SliceSamples | None = None
) -> Estimate:
    """An estimate with its interval. `minus` is the model whose metric is subtracted."""
    drawn = samples.values[key] - minus.values[key] if minus else samples.values[key]
    drawn = drawn[np.isfinite(drawn)]
    # A difference on one speaker's clips is the same in all draws that have them, and no bound of a proportion applies to it.
    speakers = samples.heard[key] if minus else samples.speakers
    if value is None or speakers < MIN_SPEAKERS or len(drawn) < MIN_DEFINED_SHARE * len(samples.values[key]):
        return Estimate(value=value)
    tail = (1 - confidence) / 2
    if minus is None and key[0] != "ece":
        variance = float(np.mean((drawn - value) ** 2)) * samples.factor**2
        perfect = variance == 0 and value in (0.0, 1.0)
        if perfect or key[0] != "auc":
            low, high = _exact(value, variance, samples.clips[key], samples.units[key], tail)
            return Estimate(value=value, low=low, high=high)
    ends = value + samples.factor * (np.quantile(drawn, [tail, 1 - tail]) - value)
    # ECE is an absolute value, whose draws lie above it: an interval must hold its estimate all the same.
    least, most = RANGES["difference" if minus else "value"]
    low, high = np.clip([min(ends[0], value), max(ends[1], value)], least, most)
    return Estimate(value=value, low=float(low), high=float(high))


def _exact(share: float, variance: float, clips: int, units: float, tail: float) -> tuple[float, float]:
    """The interval of a share of clips by Clopper and Pearson, on the effective number of independent ones.

    That is as many as would have the same variance, fewer by what few units know of a variance; where there is none, the units.
    """
    independent = units
    if variance > 0 and units > 1 and 0 < share < 1:
        # A bootstrap's variance is that of a population: smaller by (units - 1) / units.
        quantiles = stats.t.ppf(1 - tail, max(clips - 1, 1)) / stats.t.ppf(1 - tail, units - 1)
        independent = min(share * (1 - share) / (variance * units / (units - 1)) * quantiles**2, clips)
    right = share * independent
    low = stats.beta.ppf(tail, right, independent - right + 1) if right > 0 else 0.0
    high = stats.beta.ppf(1 - tail, right + 1, independent - right) if right < independent else 1.0
    return float(min(low, share)), float(max(high, share))
