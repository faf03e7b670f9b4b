"""Lists any recordings by a table: ROOT/utterances.csv with the columns path, speaker_id, label and, where wanted, split."""

from collections.abc import Sequence
from pathlib import Path

from beam_jobs.config import SPLITS
from beam_jobs.corpus.listing import (
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
from beam_jobs.labels import LABELS

SPEAKER_LIST = "utterances.csv"
SUBSET = "utterances"
LABEL_OF_TEXT = {"female": "female", "f": "female", "male": "male", "m": "male"}


def list_files(root: Path, subsets: Sequence[str] | None) -> Listing:
    """Lists the files of utterances.csv. Label and split are a speaker's: some of the lines may leave them empty.

    Raises:
        UserError: no such subset, a line that cannot be read or contradicts an earlier one, by file and line.

    """
    choose_subsets(root, [SUBSET], subsets)
    files: dict[str, ListedFile] = {}
    labels: dict[str, tuple[str, str]] = {}
    splits: dict[str, tuple[str, str]] = {}
    for where, row in read_table(root / SPEAKER_LIST, ",", ("path", "speaker_id", "label"), ("split",)):
        speaker = speaker_id(where, row["speaker_id"])
        path = path_below_root(where, row["path"])
        if path in files:
            raise UserError(f"{where}: {row['path']!r} is listed a second time; delete one of the two lines")
        if row["split"] not in ("", *SPLITS):
            raise UserError(f"{where}: split {row['split']!r} is none; expected {', '.join(SPLITS)} or nothing")
        files[path] = ListedFile(path, utterance_id(path), speaker, SUBSET)
        label = row["label"].lower()
        _agree(where, speaker, "labelled", LABEL_OF_TEXT.get(label, label), labels)
        _agree(where, speaker, "in split", row["split"], splits)
    speakers = {}
    for speaker in {file.speaker for file in files.values()}:
        label, split = labels.get(speaker, ("", ""))[0], splits.get(speaker, ("", ""))[0]
        speakers[speaker] = ListedSpeaker(label if label in LABELS else None, split or None)
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


READER = Reader("CSV", SPEAKER_LIST, "the files that it lists", list_files)
