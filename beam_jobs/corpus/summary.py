# SPDX-License-Identifier: Apache-2.0
"""Figures of a corpus: speakers and minutes by subset and label, and how lengths are distributed."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from beam_jobs.corpus.index import Speaker, SpeakerIndex

MAX_BINS = 12


@dataclass(frozen=True, slots=True)
class Group:
    """The speakers of one subset and label, or all of them."""

    subset: str
    label: str
    speakers: int
    utterances: int
    minutes: float


@dataclass(frozen=True, slots=True)
class HistogramBin:
    """A bar of a histogram: how many values of each label lie from its first figure up to, not with, its second."""

    range: str
    counts: dict[str, int]

    @property
    def most(self) -> int:
        """The longer of its bars."""
        return max(self.counts.values())


def by_subset_and_label(index: SpeakerIndex) -> list[Group]:
    """The groups, sorted, and after them the sum of all."""
    groups: dict[tuple[str, str], list[Speaker]] = defaultdict(list)
    for speaker in index.speakers:
        groups[speaker.subset, speaker.label].append(speaker)
    return [*(_group(*key, members) for key, members in sorted(groups.items())), _group("all", "", index.speakers)]


def _group(subset: str, label: str, speakers: Sequence[Speaker]) -> Group:
    utterances = sum(len(speaker.utterances) for speaker in speakers)
    return Group(subset, label, len(speakers), utterances, sum(speaker.duration_s for speaker in speakers) / 60)


def utterance_seconds(index: SpeakerIndex) -> list[HistogramBin]:
    """Histogram of the utterances' lengths."""
    return histogram(
        {
            label: [item.duration_s for speaker in index.speakers if speaker.label == label for item in speaker.utterances]
            for label in index.labels()
        }
    )


def speaker_minutes(index: SpeakerIndex) -> list[HistogramBin]:
    """Histogram of the minutes that a speaker speaks."""
    return histogram(
        {label: [speaker.duration_s / 60 for speaker in index.speakers if speaker.label == label] for label in index.labels()}
    )


def histogram(values: Mapping[str, Sequence[float]]) -> list[HistogramBin]:
    """Cuts values by label into at most `MAX_BINS` bins of a round width; the last is open, and holds 1 % where that helps."""
    everything = sorted(value for items in values.values() for value in items)
    low, high, top = everything[0], everything[math.ceil(0.99 * len(everything)) - 1], everything[-1]
    width = _round_width((high - low) / (MAX_BINS - 2) or high or 1)
    first = math.floor(low / width)
    last = max(first, min(math.floor(top / width), math.floor(high / width) + 1))
    places = max(0, -math.floor(math.log10(width)))
    bins = []
    for number in range(first, last + 1):
        start, end = f"{number * width:.{places}f}", f"{(number + 1) * width:.{places}f}"
        is_open = number == last and math.floor(top / width) > last
        counts = {
            label: sum(min(last, math.floor(value / width)) == number for value in items) for label, items in values.items()
        }
        bins.append(HistogramBin(f"{start} and more" if is_open else f"{start} to {end}", counts))
    return bins


def _round_width(width: float) -> float:
    power: float = 10.0 ** math.floor(math.log10(width))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= width * (1 - 1e-9))
