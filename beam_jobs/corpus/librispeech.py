# SPDX-License-Identifier: Apache-2.0
"""Lists a corpus in LibriSpeech's layout (Panayotov et al., 2015).

ROOT/SPEAKERS.TXT
ROOT/<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac, or another ending
"""

import codecs
from collections.abc import Callable, Sequence
from pathlib import Path

from beam_jobs.corpus.index import Rejected, SpeakerIndex
from beam_jobs.corpus.listing import (
    THE_LAYOUT_S_OWN,
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
from beam_jobs.corpus.probe import read_with
from beam_jobs.corpus.search import search, subset_folders, without_copies
from beam_jobs.errors import UserError
from beam_jobs.paths import check_file

SPEAKER_LIST = "SPEAKERS.TXT"
LAYOUT = "<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac"
FIELDS = "ID | SEX | SUBSET | MINUTES | NAME"
LABEL_OF_SEX = {"F": "female", "M": "male"}


def read_librispeech(
    root: str | Path,
    subsets: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SpeakerIndex:
    """Reads a corpus that is known to have this layout; arguments, result and errors are those of `read_with`."""
    return read_with(READER, root, subsets, progress)


def list_files(root: Path, subsets: Sequence[str] | None, _: Labelling = THE_LAYOUT_S_OWN) -> Listing:
    """Lists the files of the speakers in SPEAKERS.TXT. A subset is a folder, whatever the list says.

    Raises:
        UserError: no such subset or speaker list, a folder that cannot be read, or a speaker who is listed under two labels.

    """
    bad: list[LineError] = []
    labels = read_speaker_list(root / SPEAKER_LIST, bad.append)
    present = subset_folders(root)
    wanted = choose_subsets(root, present, subsets)
    found = search(root, set(present) - set(wanted))
    found.check(root)
    files: list[ListedFile] = []
    rejected = [*(line.rejected for line in bad), *found.links]
    passed_over: list[Rejected] = []
    unlisted: set[str] = set()
    for path in found.recordings:
        parts = path.split("/")
        if len(parts) != 4:
            passed_over.append(Rejected(path, "not where the layout has recordings, <subset>/<speaker>/<chapter>/"))
            continue
        subset, folder, chapter, name = parts
        speaker = same_name(folder)
        if speaker not in labels:
            unlisted.add(f"{subset}/{folder}")
        # A file in the wrong folder would be learnt under another speaker's label.
        elif not same_name(name).startswith(prefix := same_name(f"{speaker}-{chapter}-")):
            rejected.append(Rejected(path, f"the name does not start with {prefix}, as its folders say"))
        else:
            files.append(ListedFile(path, utterance_id(name), speaker, subset))
    files, copies = without_copies(files)
    found.others.remove(SPEAKER_LIST)
    speakers = {speaker: ListedSpeaker(label) for speaker, label in labels.items()}
    return Listing(speakers, files, sorted(unlisted), rejected, [*passed_over, *copies], found.by_ending())


def read_speaker_list(path: Path, bad: Callable[[LineError], None] | None = None) -> dict[str, str | None]:
    """Reads SPEAKERS.TXT: speaker id to label, `female`, `male` or None for another sex than F and M.

    Args:
        path: the file.
        bad: is told of each line that cannot be read, and then the next is; None: that is an error, and so is another sex.

    Raises:
        UserError: no such file, a speaker who is listed under two labels, or, without `bad`, a line that cannot be read.

    """
    try:
        check_file(path)
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; expected LibriSpeech's speaker list, one line a speaker: {FIELDS}") from None
    labels: dict[str, str | None] = {}
    for number, raw in enumerate(content.split(b"\n"), start=1):
        where = f"{path}:{number}"
        try:
            fields = _fields(where, raw)
            if not fields:
                continue
            speaker, sex = speaker_id(where, fields[0]), fields[1]
            if sex not in LABEL_OF_SEX and bad is None:
                raise LineError(where, f"speaker {shown(speaker)} is annotated {shown(sex)}; expected F or M")
            label = LABEL_OF_SEX.get(sex)
            if speaker in labels and labels[speaker] != label:
                raise UserError(
                    f"{where}: speaker {shown(speaker)} is listed twice, with different labels; delete one of the lines"
                )
            if speaker in labels:
                raise LineError(where, f"speaker {shown(speaker)} is listed twice; delete one of the lines")
        except LineError as error:
            if bad is None:
                raise
            bad(error)
            continue
        labels[speaker] = label
    return labels


def _fields(where: str, raw: bytes) -> list[str]:
    """The fields of a line; none of an empty one and of a comment."""
    try:
        line = raw.decode().strip()
    except UnicodeDecodeError as error:
        raise LineError(where, f"not UTF-8 text (byte {error.start + 1}); save the file as UTF-8") from None
    if not line or line.startswith(";"):
        return []
    # At most four cuts: the name may hold "|" itself, as reader 60's does.
    fields = [field.strip() for field in line.split("|", 4)]
    if len(fields) < 5 or not fields[0]:
        raise LineError(where, f"expected {FIELDS!r} and found {shown(line)}; fix or delete the line")
    return fields


READER = Reader("LibriSpeech", SPEAKER_LIST, LAYOUT, list_files)
