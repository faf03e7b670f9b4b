# SPDX-License-Identifier: Apache-2.0
"""Splits by speaker: nobody who is heard in training is heard in evaluation or test."""

import hashlib
import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from beam_jobs.config import SPLITS
from beam_jobs.corpus.index import FEEDBACK, Speaker, Utterance
from beam_jobs.errors import UserError
from beam_jobs.labels import DEFAULT_LABELS


def split_speakers(
    speakers: Iterable[Speaker],
    seed: int,
    shares: Sequence[float] = (0.8, 0.1, 0.1),
    labels: Sequence[str] = DEFAULT_LABELS,
) -> dict[str, tuple[Speaker, ...]]:
    """Divides the speakers of each label between `train`, `eval` and `test`, with at least one in each.

    A speaker whose split the corpus fixes stays there. The others of each label are sorted by id, shuffled and cut at the
    shares; a split that has none of the label yet gets one. Neither the order of `speakers` nor other labels make a
    difference. A speaker with recordings of several labels is assigned once, with the rarest of them, and is in one
    split with all. Each split is sorted by id.

    Speakers of feedback are assigned by a hash of their ids, or go where the corpus's recordings of them are. So more feedback
    moves nobody, and no voice that the model in serving was trained on comes into the next model's test split.

    Args:
        speakers: of any labels; those of `labels` must be among them. A speaker with several labels is listed once for each.
        seed: other seeds give other splits.
        shares: of train, eval and test; they add up to 1.
        labels: each needs speakers.

    Raises:
        UserError: fewer than three speakers of a label, or so many fixed that a split has none.
        ValueError: a speaker is there twice with one label, or shares are not three positive numbers that add up to 1.

    >>> speakers = [Speaker(str(k), ("male", "female")[k % 2], "", ()) for k in range(10)]
    >>> {split: [speaker.id for speaker in members] for split, members in split_speakers(speakers, seed=1).items()}
    {'train': ['0', '3', '4', '5', '6', '9'], 'eval': ['1', '2'], 'test': ['7', '8']}
    """
    speakers = sorted(speakers, key=lambda speaker: (speaker.id, speaker.label))
    if len({(speaker.id, speaker.label) for speaker in speakers}) < len(speakers):
        raise ValueError("a speaker is there twice")
    if len(shares) != len(SPLITS) or min(shares) <= 0 or not math.isclose(sum(shares), 1):
        raise ValueError(f"shares {shares} are not three positive numbers of sum 1")

    everybody, speakers = speakers, [speaker for speaker in speakers if speaker.subset != FEEDBACK]
    counts = Counter(dict.fromkeys(labels, 0))
    counts.update(speaker.label for speaker in speakers)
    if min(counts.values()) < len(SPLITS):
        found = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
        raise UserError(f"the splits need at least 3 speakers of each label and the corpus has {found}; add speakers")

    split_of = {speaker.id: speaker.split for speaker in speakers if speaker.split}
    dealt_as = {speaker.id: speaker.label for speaker in sorted(speakers, key=lambda item: (-counts[item.label], item.label))}
    for label in sorted(counts):
        fixed = {speaker.split for speaker in speakers if speaker.label == label}
        ids = [id for id in sorted(dealt_as) if dealt_as[id] == label and id not in split_of]
        lacking = [split for split in SPLITS if split not in fixed]
        if len(lacking) > len(ids) and len(dealt_as) == len(speakers):
            raise UserError(_none_left(label, lacking[-1]))
        # A text seeds by its SHA-512, so the labels' shuffles are unrelated and the same in every process.
        random.Random(f"split/{seed}/{label}").shuffle(ids)  # noqa: S311 (not for secrets)
        at_least = [split in lacking[: len(ids)] for split in SPLITS]
        train_end = _clamp(round(len(ids) * shares[0]), at_least[0], len(ids) - at_least[1] - at_least[2])
        eval_end = _clamp(round(len(ids) * (shares[0] + shares[1])), train_end + at_least[1], len(ids) - at_least[2])
        split_of.update(dict.fromkeys(ids[:train_end], "train"))
        split_of.update(dict.fromkeys(ids[train_end:eval_end], "eval"))
        split_of.update(dict.fromkeys(ids[eval_end:], "test"))
    for speaker in everybody:
        split_of.setdefault(speaker.id, _by_hash(seed, speaker.id, shares))
    there = {(split_of[speaker.id], speaker.label) for speaker in speakers}
    for split, label in itertools.product(SPLITS, sorted(counts)):
        if (split, label) not in there:
            raise UserError(f"split {split} gets no speaker with recordings labelled {label}; add speakers with such recordings")
    return {split: tuple(speaker for speaker in everybody if split_of[speaker.id] == split) for split in SPLITS}


def _by_hash(seed: int, id: str, shares: Sequence[float]) -> str:
    place = int.from_bytes(hashlib.sha256(f"split/{seed}/feedback/{id}".encode()).digest()[:8], "big") / 2**64
    return SPLITS[0 if place < shares[0] else 1 if place < shares[0] + shares[1] else 2]


def _none_left(label: str, split: str) -> str:
    return (
        f"no {label} speaker is left for the split {split}: the corpus fixes the splits of the others; "
        "add speakers, or fix fewer splits"
    )


def check_duplicates(splits: Mapping[str, Sequence[Speaker]], duplicates: Sequence[Sequence[tuple[Speaker, Utterance]]]) -> int:
    """Makes sure that no recording is in two splits, or has two labels: one of them is wrong, or the test has heard the training.

    Args:
        splits: the speakers of each.
        duplicates: groups of files of one content (`beam_jobs.corpus.contents.duplicates`).

    Returns:
        How many files hold what another one holds.

    Raises:
        UserError: there is such a recording; two of its files are named.
    """
    split_of = {speaker.id: split for split, speakers in splits.items() for speaker in speakers}
    bad = []
    for group in duplicates:
        places = {(speaker.label, split_of[speaker.id]): (speaker, utterance) for speaker, utterance in reversed(group)}
        if len(places) > 1:
            bad.append(sorted(places.items(), key=lambda item: item[1][1].path)[:2])
    if bad:
        files = " and ".join(
            f"{utterance.path} (speaker {speaker.id}, {label}, {split})" for (label, split), (speaker, utterance) in bad[0]
        )
        more = f"; {len(bad) - 1} more recordings are duplicated like this" if len(bad) > 1 else ""
        raise UserError(
            f"{files} hold the same recording, byte for byte{more}; a recording has one label and is in one split: remove one of "
            "the files, or list both under one speaker"
        )
    return sum(len(group) - 1 for group in duplicates)


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))
