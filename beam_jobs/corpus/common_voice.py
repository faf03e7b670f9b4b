"""Lists a language of Mozilla Common Voice (Ardila et al., 2020), the folder that a release unpacks to for it.

ROOT/validated.tsv      tab-separated: client_id, path, …, gender, …
ROOT/clips/<path>       MP3
"""

from collections.abc import Sequence
from pathlib import Path

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

SPEAKER_LIST = "validated.tsv"
SUBSET = "validated"
# Since release 17 the gender column holds the longer words; what else it offers is no voice of either class.
LABEL_OF_GENDER = {"female": "female", "female_feminine": "female", "male": "male", "male_masculine": "male"}


def list_files(root: Path, subsets: Sequence[str] | None, labelling: Labelling = THE_LAYOUT_S_OWN) -> Listing:
    """Lists the clips of validated.tsv. A speaker whose lines name two labels has no usable one; some may name none.

    Another column than gender, such as age or accents, is taken as it is written.

    Raises:
        UserError: no such subset, or a line that cannot be read, by file and line.

    """
    choose_subsets(root, [SUBSET], subsets)
    column = labelling.label_column or "gender"
    named_by: dict[str, set[str | None]] = {}
    files: dict[str, ListedFile] = {}
    for where, row in read_table(root / SPEAKER_LIST, "\t", ("client_id", "path", column)):
        speaker = speaker_id(where, row["client_id"])
        path = path_below_root(where, row["path"], "clips")
        if path in files:
            raise UserError(f"{where}: {row['path']!r} is listed a second time; delete one of the two lines")
        files[path] = ListedFile(path, utterance_id(path.removeprefix("clips/")), speaker, SUBSET)
        named = named_by.setdefault(speaker, set())
        if text := row[column]:
            named.add(text if labelling.label_column else LABEL_OF_GENDER.get(text))
    speakers = {speaker: ListedSpeaker(next(iter(named)) if len(named) == 1 else None) for speaker, named in named_by.items()}
    return Listing(speakers, list(files.values()))


READER = Reader("Common Voice", SPEAKER_LIST, "clips/<clip>.mp3", list_files, ("label_column",))
