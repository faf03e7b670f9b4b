# SPDX-License-Identifier: Apache-2.0
"""Recordings that users labelled, beside any corpus: a feedback.csv with the columns path, label and who.

They are a subset of their own, `feedback`, and `who` is the group that stays in one split: who speaks, or who labelled. A
recording that the corpus has already, in whatever lossless format, is not added.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from beam_jobs.audio import AudioError, read_audio
from beam_jobs.corpus.index import FEEDBACK, FEEDBACK_ID, Rejected, Speaker, SpeakerIndex, Utterance
from beam_jobs.corpus.listing import LineError, path_below_root, shown, speaker_id, utterance_id, utterance_ids
from beam_jobs.corpus.plain_csv import LABEL_OF_TEXT
from beam_jobs.corpus.probe import measure_file
from beam_jobs.corpus.tables import read_table
from beam_jobs.visible import visible


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    path: str
    label: str
    who: str
    num_samples: int
    sample_rate_hz: int


def add_feedback(index: SpeakerIndex, path: Path) -> SpeakerIndex:
    """The index with the recordings of a feedback.csv; lines that cannot be used are among its rejected ones.

    Args:
        index: of the corpus, a local folder.
        path: the list. Its paths are relative to the folder that it lies in.

    Raises:
        UserError: the list cannot be read, or lacks a column.
    """
    rejected: list[Rejected] = []
    lines = list(_usable_lines(index, path, rejected))
    ids = utterance_ids({line.path: line.name for line in lines})
    found: dict[tuple[str, str], list[Utterance]] = defaultdict(list)
    for line in lines:
        id = f"{FEEDBACK_ID}{ids[line.path]}"
        found[line.who, line.label].append(Utterance(id, line.path, line.num_samples, line.sample_rate_hz))
    speakers = []
    for speaker in index.speakers:  # of whom the corpus has recordings already, with this label
        more = found.pop((speaker.id, speaker.label), [])
        speakers.append(replace(speaker, utterances=_sorted([*speaker.utterances, *more])) if more else speaker)
    speakers += [Speaker(who, label, FEEDBACK, _sorted(utterances)) for (who, label), utterances in found.items()]
    return replace(
        index,
        speakers=tuple(sorted(speakers, key=lambda speaker: (speaker.id, speaker.label))),
        rejected=tuple(sorted([*index.rejected, *rejected], key=lambda item: item.path)),
    )


def _sorted(utterances: list[Utterance]) -> tuple[Utterance, ...]:
    return tuple(sorted(utterances, key=lambda utterance: utterance.id))


def _usable_lines(index: SpeakerIndex, path: Path, rejected: list[Rejected]) -> Iterator[_Line]:
    known = _Known(index)
    folder = os.path.realpath(path.parent)
    for where, row in read_table(path, ",", ("path", "label", "who"), bad=lambda error: rejected.append(error.rejected)):
        try:
            name = path_below_root(where, row["path"])
            if not row["label"]:
                raise LineError(where, f"{shown(name)} has no label")
            who = speaker_id(where, row["who"]) if row["who"] else f"{FEEDBACK_ID}{utterance_id(name)}"
            place = os.path.relpath(f"{folder}/{name}", known.root)
            length = measure_file(Path(known.root), None, place)
            if isinstance(length, str):
                raise LineError(where, f"{shown(name)}: {length}")
            if same := known.same_as(place, length.num_samples, length.sample_rate_hz):
                raise LineError(where, f"{shown(name)} is the same recording as {visible(same)}, which is used")
        except LineError as error:
            rejected.append(error.rejected)
            continue
        label = visible(LABEL_OF_TEXT.get(row["label"].lower(), row["label"]))
        yield _Line(name, place, label, who, length.num_samples, length.sample_rate_hz)


class _Known:
    """The recordings that there are, by their lengths: only those of one length are compared."""

    def __init__(self, index: SpeakerIndex) -> None:
        self.root = os.path.realpath(index.root)
        self._paths: dict[tuple[int, int], list[str]] = defaultdict(list)
        self._digests: dict[str, str] = {}
        for utterance in index.utterances():
            self._paths[utterance.num_samples, utterance.sample_rate_hz].append(utterance.path)

    def same_as(self, path: str, num_samples: int, sample_rate_hz: int) -> str | None:
        """A recording that sounds the same, sample for sample; where there is none, this one is known from now on."""
        paths = self._paths[num_samples, sample_rate_hz]
        same = next((other for other in paths if self._digest(other) == self._digest(path)), None)
        if same is None:
            paths.append(path)
        return same

    def _digest(self, path: str) -> str:
        if path not in self._digests:
            try:
                samples, _ = read_audio(f"{self.root}/{path}")
                self._digests[path] = hashlib.sha256(samples.tobytes()).hexdigest()
            except AudioError:  # the clip job names it
                self._digests[path] = path
        return self._digests[path]
