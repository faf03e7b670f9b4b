"""Lists a language of Mozilla Common Voice (Ardila et al., 2020), the folder that a release unpacks to for it.

ROOT/validated.tsv      tab-separated: client_id, path, …, gender, …
ROOT/clips/<path>       MP3
"""

from collections.abc import Sequence
from pathlib import Path

from beam_jobs.corpus.listed import FileList
from beam_jobs.corpus.listing import LineError, ListedSpeaker, Listing, Reader, choose_subsets, path_below_root, speaker_id
from beam_jobs.corpus.tables import read_table

SPEAKER_LIST = "validated.tsv"
SUBSET = "validated"
# Since release 17 the gender column holds the longer words; what else it offers is no voice of either class.
LABEL_OF_GENDER = {"female": "female", "female_feminine": "female", "male": "male", "male_masculine": "male"}


def list_files(root: Path, subsets: Sequence[str] | None) -> Listing:
    """Lists the clips of validated.tsv. A speaker whose lines name two genders has no usable label; some may name none.

    Raises:
        UserError: no such subset, or a list without the columns.

    """
    choose_subsets(root, [SUBSET], subsets)
    genders: dict[str, set[str | None]] = {}
    files = FileList(root, SPEAKER_LIST, SUBSET, "clips")
    for where, row in read_table(root / SPEAKER_LIST, "\t", ("client_id", "path", "gender"), bad=files.reject):
        try:
            speaker = speaker_id(where, row["client_id"])
            path = path_below_root(where, row["path"], "clips")
            named = genders.setdefault(speaker, set())
            if row["gender"]:
                named.add(LABEL_OF_GENDER.get(row["gender"]))
            files.add(where, path, speaker)
        except LineError as error:
            files.reject(error)
    return files.listing(
        {speaker: ListedSpeaker(next(iter(named)) if len(named) == 1 else None) for speaker, named in genders.items()}
    )


READER = Reader("Common Voice", SPEAKER_LIST, "clips/<clip>.mp3", list_files)
