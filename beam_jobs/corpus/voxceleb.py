# SPDX-License-Identifier: Apache-2.0
"""Lists VoxCeleb1 (Nagrani et al., 2017) and VoxCeleb2 (Chung et al., 2018).

ROOT/vox1_meta.csv                              tab-separated: VoxCeleb1 ID, VGGFace1 ID, Gender, Nationality, Set
ROOT/wav/<speaker>/<video>/<number>.wav

ROOT/vox2_meta.csv                              comma-separated, each field and a space: VoxCeleb2 ID, VGGFace2 ID, Gender, Set
ROOT/dev/aac/<speaker>/<video>/<number>.m4a     and test/aac/…

Recordings are found by their last two folders, so that it makes no difference which archives were unpacked, converted or joined.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from beam_jobs.corpus.index import Rejected
from beam_jobs.corpus.listing import (
    Labelling,
    LineError,
    ListedFile,
    ListedSpeaker,
    Listing,
    Reader,
    choose_subsets,
    same_name,
    shown,
    speaker_id,
    utterance_id,
)
from beam_jobs.corpus.search import search, without_copies
from beam_jobs.corpus.tables import read_table
from beam_jobs.errors import UserError

LABEL_OF_GENDER = {"f": "female", "m": "male"}


def list_files(number: int, delimiter: str, root: Path, subsets: Sequence[str] | None, _: Labelling) -> Listing:
    """Lists the files of the speakers in the list of VoxCeleb `number`. The subsets are those of its column Set.

    Raises:
        UserError: no such subset, a folder that cannot be read, or a speaker who is listed under two labels.

    """
    marker, column = f"vox{number}_meta.csv", f"VoxCeleb{number} ID"
    rejected: list[Rejected] = []
    speakers, subset_of = _read_list(root / marker, delimiter, column, rejected)
    wanted = choose_subsets(root, sorted(set(subset_of.values())), subsets)
    found = search(root)
    found.check(root)
    files, passed_over, unlisted = [], [], set()
    for path in found.recordings:
        *above, folder, video, name = ("", "", "", *path.split("/"))
        speaker = same_name(folder)
        if not folder:
            passed_over.append(Rejected(path, "not where the layout has recordings, <speaker>/<video>/"))
        elif speaker not in speakers:
            unlisted.add("/".join([*filter(None, above), folder]))
        elif subset_of[speaker] in wanted:
            files.append(ListedFile(path, utterance_id(f"{speaker}-{video}-{name}"), speaker, subset_of[speaker]))
    files, copies = without_copies(files)
    found.others.remove(marker)
    return Listing(speakers, files, sorted(unlisted), [*rejected, *found.links], [*passed_over, *copies], found.by_ending())


def _read_list(
    path: Path, delimiter: str, column: str, rejected: list[Rejected]
) -> tuple[dict[str, ListedSpeaker], dict[str, str]]:
    speakers: dict[str, ListedSpeaker] = {}
    subset_of: dict[str, str] = {}
    bad = lambda error: rejected.append(error.rejected)  # noqa: E731
    for where, row in read_table(path, delimiter, (column, "Gender", "Set"), bad=bad):
        try:
            speaker = speaker_id(where, row[column])
            listed = ListedSpeaker(LABEL_OF_GENDER.get(row["Gender"]))
            if speakers.get(speaker, listed) != listed:
                raise UserError(
                    f"{where}: speaker {shown(speaker)} is listed twice, with different labels; delete one of the lines"
                )
            if speaker in speakers:
                raise LineError(where, f"speaker {shown(speaker)} is listed twice; delete one of the lines")
        except LineError as error:
            bad(error)
            continue
        speakers[speaker], subset_of[speaker] = listed, row["Set"]
    return speakers, subset_of


READER = Reader("VoxCeleb1", "vox1_meta.csv", "wav/<speaker>/<video>/<number>.wav", partial(list_files, 1, "\t"))
READER_2 = Reader("VoxCeleb2", "vox2_meta.csv", "dev/aac/<speaker>/<video>/<number>.m4a", partial(list_files, 2, ","))
