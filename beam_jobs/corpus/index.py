# SPDX-License-Identifier: Apache-2.0
"""The speaker index: who speaks in a corpus, under which label, in which files."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from beam_jobs.command_line import command
from beam_jobs.errors import UserError
from beam_jobs.labels import DEFAULT_LABELS

FORMAT_VERSION = 1
FEEDBACK, FEEDBACK_ID = "feedback", "feedback:"
"""The subset of recordings that users labelled (`beam_jobs.corpus.feedback`), and how their utterances' ids begin."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One audio file. `path` is relative to the corpus root, with `/` between its parts."""

    id: str
    path: str
    num_samples: int
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate_hz


@dataclass(frozen=True, slots=True)
class Speaker:
    """One speaker with the corpus's annotation, such as `female` or `male`; `split` only where the corpus fixes it."""

    id: str
    label: str
    subset: str
    utterances: tuple[Utterance, ...]
    split: str | None = None

    @property
    def duration_s(self) -> float:
        """Length of all utterances together, in seconds."""
        return sum(utterance.duration_s for utterance in self.utterances)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A file that cannot be used, or a line of a list (`validated.tsv:12`), and why, in words."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class SpeakerIndex:
    """All speakers of a corpus that have audio on disk.

    `speakers` is sorted by id and each speaker's utterances by id, so that the order in which a file system lists its
    folders changes nothing. `unlisted` names speaker folders that the corpus's speaker list does not know,
    `unlabelled` speakers to whom it gives no usable label. `passed_over` names recordings that lie in the folder and that no list
    or layout makes part of the corpus, and why; `other_files` counts, by ending, what is no recording by its name.
    `other_labels` counts the speakers that `with_labels` left out, by label.
    """

    root: str
    speakers: tuple[Speaker, ...]
    unlisted: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    unlabelled: tuple[str, ...] = ()
    passed_over: tuple[Rejected, ...] = ()
    other_files: Mapping[str, int] = field(default_factory=dict)
    other_labels: Mapping[str, int] = field(default_factory=dict)

    def utterances(self) -> Iterator[Utterance]:
        """Every utterance of every speaker."""
        for speaker in self.speakers:
            yield from speaker.utterances

    def labels(self) -> tuple[str, ...]:
        """The labels that speakers have, those of the default configuration first, the others sorted."""
        found = {speaker.label for speaker in self.speakers}
        return (*(label for label in DEFAULT_LABELS if label in found), *sorted(found - set(DEFAULT_LABELS)))

    def with_labels(self, labels: Sequence[str]) -> "SpeakerIndex":
        """The speakers of `labels` alone.

        Raises:
            UserError: a label that nobody has; it lists those that there are.
        """
        counts = Counter(speaker.label for speaker in self.speakers)
        if missing := [label for label in labels if label not in counts]:
            there = ", ".join(f"{label} ({count})" for label, count in counts.most_common(20))
            more = f" and {len(counts) - 20} more" if len(counts) > 20 else ""
            raise UserError(
                f"{self.root}: no speaker is labelled {missing[0]!r}; clips.labels names {', '.join(labels)}, and the corpus has "
                f"{there}{more} speakers"
            )
        others = {label: count for label, count in sorted(counts.items()) if label not in labels}
        kept = tuple(speaker for speaker in self.speakers if speaker.label in labels)
        return replace(self, speakers=kept, other_labels={**self.other_labels, **others})

    def fingerprint(self) -> str:
        """SHA-256 over speakers, labels, files and their lengths; the same wherever the corpus lies."""
        content = json.dumps([_as_dict(speaker) for speaker in self.speakers], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def to_json(self) -> str:
        """The index as JSON text, readable by `from_json`."""
        data = {**asdict(self), "speakers": [_as_dict(speaker) for speaker in self.speakers]}
        return json.dumps({"format_version": FORMAT_VERSION, **data}, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, source: str | Path) -> "SpeakerIndex":
        """Reads what `to_json` wrote; `source` is named in errors.

        Raises:
            UserError: the text is no index of this format version.

        """
        try:
            data = json.loads(text)
            version = data.pop("format_version")
            if version != FORMAT_VERSION:
                raise UserError(
                    f"{source}: speaker index of format version {version}, this program reads {FORMAT_VERSION}; create it again"
                )
            speakers = tuple(
                Speaker(**{**speaker, "utterances": tuple(Utterance(**item) for item in speaker["utterances"])})
                for speaker in data["speakers"]
            )
            rejected = tuple(Rejected(**item) for item in data["rejected"])
            # Indexes that were written before these were named do not have them.
            passed_over = tuple(Rejected(**item) for item in data.get("passed_over", ()))
            unlabelled = tuple(data.get("unlabelled", ()))
            counts = dict(data.get("other_files", {})), dict(data.get("other_labels", {}))
            return cls(data["root"], speakers, tuple(data["unlisted"]), rejected, unlabelled, passed_over, *counts)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            again = command("corpus", "info", "ROOT", "--json", str(source))
            raise UserError(f"{source}: not a speaker index ({error}); create it again with `{again}`") from None


def _as_dict(speaker: Speaker) -> dict[str, Any]:
    data = asdict(speaker)
    if speaker.split is None:
        del data["split"]  # so that fingerprints stay what they were before a corpus could fix splits
    return data
