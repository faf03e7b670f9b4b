# SPDX-License-Identifier: Apache-2.0
"""Planning a clip: everything that chance decides, drawn from (seed, split, k) alone and written down as data."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from beam_jobs.channel import Channel, draw_channel
from beam_jobs.config import ClipsConfig, Range
from beam_jobs.corpus.index import Speaker, Utterance
from beam_jobs.errors import UserError
from beam_jobs.labels import MIXED
from beam_jobs.voice import Voice, draw_voice

MODES = ("simultaneous", "sequential")
MAX_DRAWS = 1000
GOLDEN_RATIO = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Placement:
    """A part of an utterance on a clip's timeline.

    `label` is the speaker's, as an index into the configured classes.
    `offset` and `num_samples` count samples of the file at its own rate; `start` counts samples of the clip at the clip's.
    `speed` is how many times as fast as it was spoken the part is played, pitch and all.
    `voice` is what it is changed into and `channel` what it then goes through; with neither it is heard as it was recorded.
    """

    speaker_id: str
    label: int
    utterance: Utterance
    offset: int
    num_samples: int
    start: int
    gain_db: float
    speed: float = 1.0
    voice: Voice | None = None
    channel: Channel | None = None

    @property
    def duration_s(self) -> float:
        """How long the part sounds in the clip."""
        return self.num_samples / (self.utterance.sample_rate_hz * self.speed)


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """What a clip will hold. `label` is an index into the configured classes; `draws` counts how often it was drawn.

    `coverage` is the share of it that utterances cover, their own pauses with them.
    """

    id: str
    label: int
    mode: str
    placements: tuple[Placement, ...]
    coverage: float
    draws: int


class ClipPlanner:
    """Plans the clips of one split.

    Args:
        clips: the settings; its seed is the only source of randomness.
        split: the split's name.
        speakers: the split's speakers.

    Raises:
        UserError: the split has no speaker of a label, or fewer utterances of it than a clip may hold.

    >>> from beam_jobs.config import NumClips
    >>> from beam_jobs.corpus.readers import read_corpus
    >>> clips = ClipsConfig(duration_s=3, num_clips=NumClips(train=10, eval=2, test=2), max_utterances=2)
    >>> plan = ClipPlanner(clips, "train", read_corpus("corpus").speakers).plan(7)
    >>> plan.id, plan.mode, len(plan.placements)
    ('train-0000007', ...)
    """

    def __init__(self, clips: ClipsConfig, split: str, speakers: Sequence[Speaker]) -> None:
        self._clips = clips
        self._split = split
        # Voices that nobody has are for training alone: what is measured is measured on voices as they are.
        train = split == "train"
        self._speed = clips.train_speed if train else Range(min=1.0, max=1.0)
        self._voice = clips.train_voice if train else None
        self._channel = clips.train_channel if train else None
        self._by_label: Mapping[str, tuple[Speaker, ...]] = {
            label: tuple(speaker for speaker in speakers if speaker.label == label) for label in clips.labels
        }
        for label, members in self._by_label.items():
            if not members:
                raise UserError(f"split {split} has no {label} speaker; use a larger corpus")
            there = sum(len(speaker.utterances) for speaker in members)
            if there < clips.max_utterances:
                raise UserError(
                    f"split {split} has {counted(len(members), f'{label} speaker')} with {counted(there, 'utterance')}, and a "
                    f"clip may hold {clips.max_utterances}, none of them twice; use a larger corpus or lower "
                    f"clips.max_utterances to {there}"
                )

    def plan(self, k: int, unusable: frozenset[str] | set[str] = frozenset()) -> ClipPlan:
        """Plans clip `k`: the same plan for the same (seed, split, k), whatever else is planned.

        `unusable` holds ids of utterances that turned out not to be decodable; a draw with one of them is repeated,
        as is one whose utterances cover less than the settings require.

        Raises:
            UserError: 1,000 draws in a row did not fill the clip.

        """
        class_name = self._clips.classes[class_index(self._clips, self._split, k)]
        for draw in range(MAX_DRAWS):
            rng = self._generator(k, draw)
            drawn = rng.random()  # whether it decides or not, so that what follows is the same
            alone = self._clips.max_utterances == 1
            mode = MODES[0] if alone or drawn < self._clips.simultaneous_share else MODES[1]
            placements = self._place(rng, mode, self._draw_utterances(rng, class_name))
            if any(placement.utterance.id in unusable for placement in placements):
                continue
            coverage = self._coverage(placements)
            if coverage * self._clips.duration_s >= self._clips.min_speech_s and self._holds(placements, class_name):
                label = self._clips.classes.index(class_name)
                changed = self._change(k, draw, placements)
                return ClipPlan(f"{self._split}-{k:07d}", label, mode, changed, coverage, draw + 1)
        around = f", around {counted(len(unusable), 'utterance')} that cannot be used in it" if unusable else ""
        raise UserError(
            f"clip {k} of split {self._split} was drawn {MAX_DRAWS} times without {self._clips.min_speech_s:g} s of utterances"
            f"{around}; lower clips.min_speech_s, raise clips.min_utterances or use longer utterances"
        )

    def _holds(self, placements: Sequence[Placement], class_name: str) -> bool:
        """Whether each label that the class is made of is heard long enough to be told: a clip's end may have cut it short."""
        wanted = self._clips.labels if class_name == MIXED else (class_name,)
        heard_s = dict.fromkeys(self._clips.classes, 0.0)
        for placement in placements:
            heard_s[self._clips.classes[placement.label]] += placement.duration_s
        return all(heard_s[label] >= self._clips.min_speech_s for label in wanted)

    def _generator(self, *parts: object) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(_seed(self._clips.seed, self._split, *parts)))

    def _change(self, k: int, draw: int, placements: tuple[Placement, ...]) -> tuple[Placement, ...]:
        if self._voice is None and self._channel is None:
            return placements
        # From generators of their own, so that the same clips come out with and without them, for comparison.
        voice_rng, channel_rng = self._generator(k, draw, "voice"), self._generator(k, draw, "channel")
        return tuple(
            replace(
                placement,
                voice=draw_voice(voice_rng, self._voice, self._clips.classes[placement.label]) if self._voice else None,
                channel=draw_channel(channel_rng, self._channel) if self._channel else None,
            )
            for placement in placements
        )

    def _draw_utterances(self, rng: np.random.Generator, class_name: str) -> list[tuple[Speaker, Utterance]]:
        number = int(rng.integers(self._clips.min_utterances, self._clips.max_utterances + 1))
        if class_name == MIXED:
            number = max(2, number)
            both = self._clips.labels
            labels = [*both, *(both[i] for i in rng.integers(0, len(both), number - len(both)))]
            rng.shuffle(labels)
        else:
            labels = [class_name] * number
        dealt = {label: self._deal(rng, label) for label in sorted(set(labels))}
        return [next(dealt[label]) for label in labels]

    def _deal(self, rng: np.random.Generator, label: str) -> Iterator[tuple[Speaker, Utterance]]:
        """Speakers like cards, so that nobody speaks twice before everybody has spoken once; and no utterance twice."""
        members = self._by_label[label]
        order, said = rng.permutation(len(members)), set()
        while True:
            for number in order:
                speaker = members[number]
                if left := [utterance for utterance in speaker.utterances if utterance.id not in said]:
                    utterance = left[int(rng.integers(len(left)))]
                    said.add(utterance.id)
                    yield speaker, utterance

    def _place(self, rng: np.random.Generator, mode: str, drawn: Sequence[tuple[Speaker, Utterance]]) -> tuple[Placement, ...]:
        clips = self._clips
        placements: list[Placement] = []
        start_s = 0.0
        for speaker, utterance in drawn:
            speed = float(rng.uniform(self._speed.min, self._speed.max)) if self._speed.min < self._speed.max else self._speed.min
            rate = utterance.sample_rate_hz * speed
            num_samples = max(1, int(utterance.num_samples * rng.uniform(clips.length_share.min, clips.length_share.max)))
            offset = int(rng.integers(utterance.num_samples - num_samples + 1))
            gain_db = float(rng.uniform(clips.gain_db.min, clips.gain_db.max))
            pause_s = float(rng.uniform(clips.pause_s.min, clips.pause_s.max))
            if mode == "sequential" and placements:
                start_s += pause_s
            start = round(start_s * clips.sample_rate_hz)
            # What would lie behind the clip's end is not even decoded.
            num_samples = min(num_samples, int((clips.num_samples - start) / clips.sample_rate_hz * rate))
            if num_samples < 1:
                break
            label = clips.classes.index(speaker.label)
            placements.append(Placement(speaker.id, label, utterance, offset, num_samples, start, gain_db, speed))
            if mode == "sequential":
                start_s += num_samples / rate
        return tuple(placements)

    def _coverage(self, placements: Sequence[Placement]) -> float:
        covered = end = 0.0
        for placement in placements:  # by start: they are placed in order
            start = placement.start / self._clips.sample_rate_hz
            stop = start + placement.duration_s
            covered += max(0.0, stop - max(start, end))
            end = max(end, stop)
        return min(1.0, covered / self._clips.duration_s)


def class_index(clips: ClipsConfig, split: str, k: int) -> int:
    """The class of clip `k`, whatever number of clips and shards there is.

    Classes are dealt in hands of as many clips as there are labels, each hand in an order of its own. So every stretch of clips
    is balanced, and clips at regular distances, such as those that one of several workers reads, are as good as drawn by chance.
    """
    hand, place = divmod(k, len(clips.labels))
    order = np.random.Generator(np.random.PCG64(_seed(clips.seed, split, "hand", hand))).permutation(len(clips.labels))
    return int(_hands(clips, split, np.array([hand]))[0, order[place]])


def _hands(clips: ClipsConfig, split: str, hands: NDArray[np.int64]) -> NDArray[np.int64]:
    """Class indices int64 [hands, labels], in the order of the classes' positions."""
    # A hand lies in [0, 1) at equal distances, from a start of its own. The golden ratio's multiples spread the starts evenly,
    # so that classes get their shares, which no single hand could give them.
    start = (_seed(clips.seed, split) / 2**128 + hands * GOLDEN_RATIO) % 1.0
    number = len(clips.labels)
    position = (np.arange(number) + start[:, np.newaxis]) / number
    single = (position - clips.mixed_share) / (1 - clips.mixed_share)
    index = np.minimum((single * number).astype(np.int64), number - 1)
    return np.where(position < clips.mixed_share, number, index)


def count_classes(clips: ClipsConfig, split: str) -> dict[str, int]:
    """How many clips of each class a split will hold."""
    number = len(clips.labels)
    whole, rest = divmod(getattr(clips.num_clips, split), number)
    last = [class_index(clips, split, whole * number + place) for place in range(rest)]
    indices = np.concatenate([_hands(clips, split, np.arange(whole)).ravel(), np.array(last, np.int64)])
    return dict(zip(clips.classes, np.bincount(indices, minlength=len(clips.classes)).tolist(), strict=True))


def rare_class(counts: Mapping[str, int], min_share: float) -> str | None:
    """The first class with fewer clips than `min_share` of all, or with none; None where there is no such class."""
    total = sum(counts.values())
    return next((name for name, count in counts.items() if count < max(1, min_share * total)), None)


def counted(number: int, noun: str) -> str:
    """`1 utterance`, `2 utterances`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _seed(*parts: object) -> int:
    """128 bits of chance that depend on nothing but `parts`."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:16], "little")
