"""Lists a corpus in LibriSpeech's layout (Panayotov et al., 2015).

ROOT/SPEAKERS.TXT
ROOT/<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac
"""

import codecs
from collections.abc import Callable, Sequence
from pathlib import Path

from beam_jobs.corpus.index import Rejected, SpeakerIndex
from beam_jobs.corpus.listing import THE_LAYOUT_S_OWN, Labelling, ListedFile, ListedSpeaker, Listing, Reader, choose_subsets
from beam_jobs.corpus.probe import read_with
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
        UserError: no such subset or speaker list, or a line of the list that cannot be read.

    """
    labels = read_speaker_list(root / SPEAKER_LIST)
    present = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    files: list[ListedFile] = []
    rejected: list[Rejected] = []
    unlisted: set[str] = set()
    for subset in choose_subsets(root, present, subsets):
        for path in (path.relative_to(root).as_posix() for path in (root / subset).glob("*/*/*.flac")):
            _, speaker, chapter, name = path.split("/")
            if speaker not in labels:
                unlisted.add(f"{subset}/{speaker}")
            # A file in the wrong folder would be learnt under another speaker's label.
            elif not name.startswith(f"{speaker}-{chapter}-"):
                rejected.append(Rejected(path, f"the name does not start with {speaker}-{chapter}-, as its folders say"))
            else:
                files.append(ListedFile(path, name.removesuffix(".flac"), speaker, subset))
    return Listing({speaker: ListedSpeaker(label) for speaker, label in labels.items()}, files, sorted(unlisted), rejected)


def read_speaker_list(path: Path) -> dict[str, str]:
    """Reads SPEAKERS.TXT: speaker id to label, `female` or `male`.

    Raises:
        UserError: no such file, or a line that cannot be read, by file and line.

    """
    try:
        check_file(path)
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; expected LibriSpeech's speaker list, one line a speaker: {FIELDS}") from None
    labels: dict[str, str] = {}
    for number, raw in enumerate(content.split(b"\n"), start=1):
        where = f"{path}:{number}"
        try:
            line = raw.decode().strip()
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: not UTF-8 text (byte {error.start + 1}); save the file as UTF-8") from None
        if not line or line.startswith(";"):
            continue
        # At most four cuts: the name may hold "|" itself, as reader 60's does.
        fields = [field.strip() for field in line.split("|", 4)]
        if len(fields) < 5 or not fields[0]:
            raise UserError(f"{where}: expected {FIELDS!r} and found {line!r}; fix or delete the line")
        speaker, sex = fields[:2]
        if sex not in LABEL_OF_SEX:
            raise UserError(f"{where}: speaker {speaker} is annotated {sex!r}; expected F or M")
        if speaker in labels:
            raise UserError(f"{where}: speaker {speaker} is listed a second time; delete one of the two lines")
        labels[speaker] = LABEL_OF_SEX[sex]
    return labels


READER = Reader("LibriSpeech", SPEAKER_LIST, LAYOUT, list_files)
