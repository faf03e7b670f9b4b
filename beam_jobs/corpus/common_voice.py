# SPDX-License-Identifier: Apache-2.0
"""Lists a language of Mozilla Common Voice (Ardila et al., 2020), the folder that a release unpacks to for it.

ROOT/validated.tsv      tab-separated: client_id, path, …, gender, …
ROOT/clips/<path>       MP3
"""

from collections.abc import Sequence
from pathlib import Path

from beam_jobs.corpus.listed import FileList
from beam_jobs.corpus.listing import (
    Labelling,
    LineError,
    ListedSpeaker,
    Listing,
    Reader,
    choose_subsets,
    path_below_root,
    speaker_id,
)
from beam_jobs.corpus.tables import read_table

SPEAKER_LIST = "validated.tsv"
SUBSET = "validated"
# Since release 17 the gender column holds the longer words; what else it offers is no voice of either class.
LABEL_OF_GENDER = {"female": "female", "female_feminine": "female", "male": "male", "male_masculine": "male"}


def list_files(root: Path, subsets: Sequence[str] | None, labelling: Labelling) -> Listing:
    """Lists the clips of validated.tsv. A speaker whose lines name two labels has no usable one; some may name none.

    Another column than gender, such as age or accents, is taken as it is written.

    Raises:
        UserError: no such subset, or a list without the columns.

    """
    choose_subsets(root, [SUBSET], subsets)
    column = labelling.label_column or "gender"
    named_by: dict[str, set[str | None]] = {}
    labelled: set[str] = set()  # by a line that is used: others can contradict, and no more
    files = FileList(root, SPEAKER_LIST, SUBSET, "clips")
    for where, row in read_table(root / SPEAKER_LIST, "\t", ("client_id", "path", column), bad=files.reject):
        try:
            speaker = speaker_id(where, row["client_id"])
            path = path_below_root(where, row["path"], "clips")
            named = named_by.setdefault(speaker, set())
            if text := row[column]:
                named.add(text if labelling.label_column else LABEL_OF_GENDER.get(text))
            files.add(where, path, speaker)
            if text:
                labelled.add(speaker)
        except LineError as error:
            files.reject(error)
    return files.listing(
        {
            speaker: ListedSpeaker(next(iter(named)) if len(named) == 1 and speaker in labelled else None)
            for speaker, named in named_by.items()
        }
    )


READER = Reader("Common Voice", SPEAKER_LIST, "clips/<clip>.mp3", list_files, ("label_column",))
