# SPDX-License-Identifier: Apache-2.0
"""Lists any recordings by a table: ROOT/utterances.csv with the columns path, speaker_id, label and, where wanted, split.

Another column may hold the labels (`label_column`); a recording whose speaker_id is empty is a group of its own.
"""

from collections.abc import Sequence
from pathlib import Path

from beam_jobs.config import SPLITS
from beam_jobs.corpus.listed import FileList
from beam_jobs.corpus.listing import (
    Labelling,
    LineError,
    ListedSpeaker,
    Listing,
    Reader,
    choose_subsets,
    path_below_root,
    shown,
    speaker_id,
    utterance_id,
)
from beam_jobs.corpus.tables import read_table
from beam_jobs.errors import UserError

SPEAKER_LIST = "utterances.csv"
SUBSET = "utterances"
LABEL_OF_TEXT = {"female": "female", "f": "female", "male": "male", "m": "male"}


def list_files(root: Path, subsets: Sequence[str] | None, labelling: Labelling) -> Listing:
    """Lists the files of utterances.csv. Label and split are a speaker's: some of the lines may leave them empty.

    With `labelling.label_per_recording` a label is that of its line alone.

    Raises:
        UserError: no such subset, a list without the columns, or a line that contradicts an earlier one, by file and line.

    """
    choose_subsets(root, [SUBSET], subsets)
    files = FileList(root, SPEAKER_LIST, SUBSET)
    labels: dict[str, tuple[str, str]] = {}
    splits: dict[str, tuple[str, str]] = {}
    listed: set[str] = set()
    labelled: set[str] = set()
    placed: set[str] = set()  # each by a line that is used: others can contradict, and no more
    column, per_recording = labelling.label_column or "label", labelling.label_per_recording
    for where, row in read_table(root / SPEAKER_LIST, ",", ("path", "speaker_id", column), ("split",), files.reject):
        try:
            path = path_below_root(where, row["path"])
            speaker = speaker_id(where, row["speaker_id"]) if row["speaker_id"] else utterance_id(path)
            if row["split"] not in ("", *SPLITS):
                raise LineError(where, f"split {shown(row['split'])} is unknown; expected {', '.join(SPLITS)} or an empty field")
            label = row[column] if labelling.label_column else LABEL_OF_TEXT.get(row[column].lower(), row[column])
            if per_recording and not label:
                raise LineError(where, f"no label in column {column}")
            _agree(where, speaker, "labelled", "" if per_recording else label, labels, ", or give --label-per-recording")
            _agree(where, speaker, "in split", row["split"], splits)
            listed.add(speaker)
            files.add(where, path, speaker, label if per_recording else None)
            if label and not per_recording:
                labelled.add(speaker)
            if row["split"]:
                placed.add(speaker)
        except LineError as error:
            files.reject(error)
    speakers = {}
    for speaker in listed:
        speakers[speaker] = ListedSpeaker(
            labels[speaker][0] if speaker in labelled else None, splits[speaker][0] if speaker in placed else None
        )
    return files.listing(speakers)


def _agree(where: str, speaker: str, what: str, value: str, seen: dict[str, tuple[str, str]], or_else: str = "") -> None:
    if not value:
        return
    before, line = seen.setdefault(speaker, (value, where))
    if before != value:
        number = line.rsplit(":", 1)[1]
        raise UserError(
            f"{where}: speaker {shown(speaker)} is {what} {shown(value)} here and {shown(before)} in line {number}; "
            f"make both lines agree{or_else}"
        )


READER = Reader("CSV", SPEAKER_LIST, "the files that it lists", list_files, ("label_column", "label_per_recording"))
