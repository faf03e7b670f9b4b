"""Lists any recordings by a table: ROOT/utterances.csv with the columns path and label and, where wanted, speaker_id and split.

Another column may hold the labels (`label_column`); a recording without a speaker is a group of its own.
"""

from collections.abc import Sequence
from pathlib import Path

from beam_jobs.config import SPLITS
from beam_jobs.corpus.listing import (
    THE_LAYOUT_S_OWN,
    Labelling,
    ListedFile,
    ListedSpeaker,
    Listing,
    Reader,
    choose_subsets,
    path_below_root,
    speaker_id,
    utterance_id,
)
from beam_jobs.corpus.tables import read_table
from beam_jobs.errors import UserError

SPEAKER_LIST = "utterances.csv"
SUBSET = "utterances"
LABEL_OF_TEXT = {"female": "female", "f": "female", "male": "male", "m": "male"}


def list_files(root: Path, subsets: Sequence[str] | None, labelling: Labelling = THE_LAYOUT_S_OWN) -> Listing:
    """Lists the files of utterances.csv. Label and split are a speaker's: some of the lines may leave them empty.

    With `labelling.label_per_recording` a label is that of its line alone.

    Raises:
        UserError: no such subset, a line that cannot be read or contradicts an earlier one, by file and line.

    """
    choose_subsets(root, [SUBSET], subsets)
    files: dict[str, ListedFile] = {}
    labels: dict[str, tuple[str, str]] = {}
    splits: dict[str, tuple[str, str]] = {}
    column = labelling.label_column or "label"
    for where, row in read_table(root / SPEAKER_LIST, ",", ("path", column), ("speaker_id", "split")):
        path = path_below_root(where, row["path"])
        speaker = speaker_id(where, row["speaker_id"]) if row["speaker_id"] else utterance_id(path)
        if path in files:
            raise UserError(f"{where}: {row['path']!r} is listed a second time; delete one of the two lines")
        if row["split"] not in ("", *SPLITS):
            raise UserError(f"{where}: split {row['split']!r} is none; expected {', '.join(SPLITS)} or nothing")
        label = row[column] if labelling.label_column else LABEL_OF_TEXT.get(row[column].lower(), row[column])
        files[path] = ListedFile(path, utterance_id(path), speaker, SUBSET, label if labelling.label_per_recording else None)
        if not labelling.label_per_recording:
            _agree(where, speaker, "labelled", label, labels)
        _agree(where, speaker, "in split", row["split"], splits)
    speakers = {}
    for speaker in {file.speaker for file in files.values()}:
        label, split = labels.get(speaker, ("", ""))[0], splits.get(speaker, ("", ""))[0]
        speakers[speaker] = ListedSpeaker(label or None, split or None)
    return Listing(speakers, list(files.values()))


def _agree(where: str, speaker: str, what: str, value: str, seen: dict[str, tuple[str, str]]) -> None:
    if not value:
        return
    before, line = seen.setdefault(speaker, (value, where))
    if before != value:
        number = line.rsplit(":", 1)[1]
        raise UserError(
            f"{where}: speaker {speaker!r} is {what} {value!r} here and {before!r} in line {number}; make the two lines agree"
        )


READER = Reader("CSV", SPEAKER_LIST, "the files that it lists", list_files, ("label_column", "label_per_recording"))
