"""Lists VoxCeleb1 (Nagrani et al., 2017).

ROOT/vox1_meta.csv                          tab-separated: VoxCeleb1 ID, VGGFace1 ID, Gender, Nationality, Set
ROOT/wav/<speaker>/<video>/<number>.wav
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
    speaker_id,
    utterance_id,
)
from beam_jobs.corpus.tables import read_table
from beam_jobs.errors import UserError

SPEAKER_LIST = "vox1_meta.csv"
LAYOUT = "wav/<speaker>/<video>/<number>.wav"
LABEL_OF_GENDER = {"f": "female", "m": "male"}


def list_files(root: Path, subsets: Sequence[str] | None, _: Labelling = THE_LAYOUT_S_OWN) -> Listing:
    """Lists the files of the speakers in vox1_meta.csv. The subsets are those of its column Set.

    Raises:
        UserError: no such subset, or a line that cannot be read, by file and line.

    """
    speakers: dict[str, ListedSpeaker] = {}
    subset_of: dict[str, str] = {}
    for where, row in read_table(root / SPEAKER_LIST, "\t", ("VoxCeleb1 ID", "Gender", "Set")):
        speaker = speaker_id(where, row["VoxCeleb1 ID"])
        if speaker in speakers:
            raise UserError(f"{where}: speaker {speaker!r} is listed a second time; delete one of the two lines")
        speakers[speaker] = ListedSpeaker(LABEL_OF_GENDER.get(row["Gender"]))
        subset_of[speaker] = row["Set"]
    wanted = choose_subsets(root, sorted(set(subset_of.values())), subsets)
    files = []
    unlisted = set()
    for path in (path.relative_to(root).as_posix() for path in root.glob("wav/*/*/*.wav")):
        _, speaker, video, name = path.split("/")
        if speaker not in speakers:
            unlisted.add(f"wav/{speaker}")
        elif subset_of[speaker] in wanted:
            files.append(ListedFile(path, utterance_id(f"{speaker}-{video}-{name}"), speaker, subset_of[speaker]))
    return Listing(speakers, files, sorted(unlisted))


READER = Reader("VoxCeleb1", SPEAKER_LIST, LAYOUT, list_files)
