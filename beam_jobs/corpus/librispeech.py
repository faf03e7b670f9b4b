"""Reads a corpus in LibriSpeech's layout (Panayotov et al., 2015) into a speaker index.

ROOT/SPEAKERS.TXT
ROOT/<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac
"""

import codecs
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile

from beam_jobs.corpus.index import Rejected, Speaker, SpeakerIndex, Utterance
from beam_jobs.errors import UserError

SPEAKER_LIST = "SPEAKERS.TXT"
LAYOUT = "<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac"
FIELDS = "ID | SEX | SUBSET | MINUTES | NAME"
LABELS = {"F": "female", "M": "male"}

# What libsndfile reports for a FLAC whose header leaves the length open, as a streaming encoder writes it (SF_COUNT_MAX).
UNKNOWN_LENGTH = 2**63 - 1


def read_librispeech(
    root: str | Path,
    subsets: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SpeakerIndex:
    """Reads who speaks in which files; of the audio only headers are read.

    Speakers and utterances are sorted by id as plain strings ("103" before "14"). A speaker's subset is the folder that
    holds the files, whatever the list says; where several do, the first by name. Listed speakers without a usable file
    are left out.

    Args:
        root: the folder that holds SPEAKERS.TXT.
        subsets: the folders to read; None for all.
        progress: called with (files done, files in all).

    Raises:
        UserError: no such folder, subset or speaker list, a line of the list that cannot be read, or no usable audio.

    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; name a corpus folder that holds {SPEAKER_LIST} and {LAYOUT}")
    labels = read_speaker_list(root / SPEAKER_LIST)
    files = _find_files(root, subsets)
    folders = {_speaker_folder(path): path.split("/")[1] for path in files}
    unlisted = sorted(folder for folder, speaker in folders.items() if speaker not in labels)
    listed = [path for path in files if folders[_speaker_folder(path)] in labels]

    rejected: list[Rejected] = []
    first_paths: dict[str, str] = {}
    found: dict[str, list[Utterance]] = {}
    with ThreadPoolExecutor() as pool:
        for done, entry in enumerate(pool.map(lambda path: _read_utterance(root, path), listed), start=1):
            if isinstance(entry, Utterance) and (first := first_paths.setdefault(entry.id, entry.path)) != entry.path:
                entry = Rejected(entry.path, f"the same utterance id as {first}")
            if isinstance(entry, Rejected):
                rejected.append(entry)
            else:
                found.setdefault(entry.path.split("/")[1], []).append(entry)
            if progress:
                progress(done, len(listed))

    if not found:
        raise UserError(_no_audio(root, subsets, unlisted, rejected))
    speakers = (
        Speaker(id, labels[id], utterances[0].path.split("/")[0], tuple(sorted(utterances, key=lambda item: item.id)))
        for id, utterances in sorted(found.items())
    )
    return SpeakerIndex(str(root.absolute()), tuple(speakers), tuple(unlisted), tuple(rejected))


def read_speaker_list(path: Path) -> dict[str, str]:
    """Reads SPEAKERS.TXT: speaker id to label, `female` or `male`.

    Raises:
        UserError: no such file, or a line that cannot be read, by file and line.

    """
    try:
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
            raise UserError(f"{where}: expected {FIELDS!r} and found {line!r}; mend or delete the line")
        speaker, sex = fields[:2]
        if sex not in LABELS:
            raise UserError(f"{where}: speaker {speaker} is annotated {sex!r}; expected F or M")
        if speaker in labels:
            raise UserError(f"{where}: speaker {speaker} is listed a second time; delete one of the two lines")
        labels[speaker] = LABELS[sex]
    return labels


def _find_files(root: Path, subsets: Sequence[str] | None) -> list[str]:
    present = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    wanted = present if subsets is None else sorted(set(subsets))
    if missing := [subset for subset in wanted if subset not in present]:
        raise UserError(f"{root}: no subset {missing[0]!r}; present: {', '.join(present) or 'none'}")
    return sorted(path.relative_to(root).as_posix() for subset in wanted for path in (root / subset).glob("*/*/*.flac"))


def _speaker_folder(path: str) -> str:
    return "/".join(path.split("/")[:2])


def _read_utterance(root: Path, path: str) -> Utterance | Rejected:
    _, speaker, chapter, name = path.split("/")
    # A file in the wrong folder would be learnt under another speaker's label.
    if not name.startswith(f"{speaker}-{chapter}-"):
        return Rejected(path, f"the name does not start with {speaker}-{chapter}-, as its folders say")
    try:
        info = soundfile.info(root / path)
    except soundfile.LibsndfileError as error:
        return Rejected(path, f"cannot be opened as audio: {error.error_string.rstrip('.')}")
    if info.frames == 0:
        return Rejected(path, "holds no samples")
    if info.frames == UNKNOWN_LENGTH:
        return Rejected(path, "its header does not say how long it is")
    return Utterance(name.removesuffix(".flac"), path, info.frames, info.samplerate)


def _no_audio(root: Path, subsets: Sequence[str] | None, unlisted: list[str], rejected: list[Rejected]) -> str:
    where = f"{root}: no usable audio" + (f" in {', '.join(subsets)}" if subsets else "")
    if rejected:
        return f"{where}: {len(rejected)} rejected, the first {rejected[0].path}: {rejected[0].reason}"
    if unlisted:
        return f"{where}: none of its {len(unlisted)} speaker folders ({unlisted[0]}, …) is listed in {SPEAKER_LIST}"
    return f"{where}; expected {LAYOUT}"
