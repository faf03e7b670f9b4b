# SPDX-License-Identifier: Apache-2.0
"""What of a corpus is not used, in words: the same ones on the terminal, in a dataset and on its report."""

from collections.abc import Sequence
from dataclasses import dataclass

from beam_jobs.corpus.index import SpeakerIndex
from beam_jobs.corpus.listing import SHOWN

NAMED = 3

# What one and what several are called.
LABELS = ("label, with its speakers, not in clips.labels", "labels, with their speakers, not in clips.labels")
SPEAKERS = ("speaker without a usable label", "speakers without a usable label")
FOLDERS = ("folder of a speaker who is not listed", "folders of speakers who are not listed")
UNUSABLE = ("file or line of a list that cannot be used", "files and lines of a list that cannot be used")
OTHERS = ("recording that is not part of the corpus", "recordings that are not part of the corpus")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Things of one kind that are left out: what one and what several are called, and their names.

    With `reasons` each name is followed by why.
    """

    one: str
    several: str
    names: Sequence[str]
    reasons: bool = False

    @property
    def heading(self) -> str:
        """How many there are of what."""
        return counted(len(self.names), (self.one, self.several))

    def in_short(self, named: int = NAMED) -> str:
        """That, and the first names, each in short: Common Voice's ids have 128 digits."""
        some = ", ".join(name if self.reasons or len(name) <= SHOWN else f"{name[:16]}…" for name in self.names[:named])
        return f"{self.heading}: {some}" + (", …" if len(self.names) > named else "")


def counted(number: int, kind: tuple[str, str]) -> str:
    """How many there are of a kind."""
    return f"{number:,} {kind[number != 1]}"


def left_out(index: SpeakerIndex) -> list[LeftOut]:
    """What of a corpus is left out, by kind; kinds of which there is nothing are not in it."""
    unusable = [f"{item.path}: {item.reason}" for item in index.rejected]
    others = [f"{item.path}: {item.reason}" for item in index.passed_over]
    labels = [f"{label} ({count})" for label, count in index.other_labels.items()]
    kinds = [
        LeftOut(*LABELS, labels),
        LeftOut(*SPEAKERS, index.unlabelled),
        LeftOut(*FOLDERS, index.unlisted),
        LeftOut(*UNUSABLE, unusable, True),
        LeftOut(*OTHERS, others, True),
    ]
    return [kind for kind in kinds if kind.names]


def left_out_lines(index: SpeakerIndex) -> list[str]:
    """A line for each kind."""
    return [f"left out: {kind.in_short()}" for kind in left_out(index)]
