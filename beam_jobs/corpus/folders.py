# SPDX-License-Identifier: Apache-2.0
"""Lists recordings that lie in a folder for each label: ROOT/<label>/…/<recording>.

Who speaks is read from the path by a pattern, as in Speech Commands (`(?P<speaker>[0-9a-f]+)_nohash`); without one, each file is
a group of its own.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from beam_jobs.audio import is_recording
from beam_jobs.corpus.index import Rejected
from beam_jobs.corpus.listing import (
    Labelling,
    ListedFile,
    ListedSpeaker,
    Listing,
    Reader,
    choose_subsets,
    same_name,
    utterance_id,
    utterance_ids,
)
from beam_jobs.corpus.search import search, subset_folders
from beam_jobs.errors import UserError
from beam_jobs.folders import files_below, is_hidden

SUBSET = "recordings"


def looks_like(root: Path, unreadable: list[str]) -> bool:
    """Whether two folders at least of `root` hold recordings; those that cannot be read are added to `unreadable`."""
    holding = 0
    for folder in subset_folders(root):
        locked: list[OSError] = []
        below = files_below(root / folder, locked.append, is_hidden)
        holding += any(is_recording(PurePosixPath(path).name) for path in below)
        unreadable += [f"{root / folder / str(error.filename)} ({error.strerror})" for error in locked]
        if holding == 2:
            return True
    return False


def list_files(root: Path, subsets: Sequence[str] | None, labelling: Labelling) -> Listing:
    """Lists every recording below a folder of `root`; the folder's name is its label.

    Raises:
        UserError: no such subset, a folder that cannot be read, or a speaker pattern that is not one.

    """
    choose_subsets(root, [SUBSET], subsets)
    pattern = _compile(labelling.speaker_pattern)
    found = search(root)
    found.check(root)
    files: list[ListedFile] = []
    passed_over: list[Rejected] = []
    for path in found.recordings:
        label, _, rest = path.partition("/")
        if not rest:
            passed_over.append(Rejected(path, "not in a folder of a label"))
        elif pattern is None:
            files.append(ListedFile(path, path, utterance_id(path), SUBSET, same_name(label)))
        elif (match := pattern.search(rest)) and match["speaker"]:
            speaker = re.sub(r"\s", "%20", same_name(match["speaker"]))
            files.append(ListedFile(path, path, speaker, SUBSET, same_name(label)))
        else:
            passed_over.append(Rejected(path, f"no speaker in its path by the pattern {labelling.speaker_pattern}"))
    ids = utterance_ids({file.path: file.path for file in files})
    speakers = {file.speaker: ListedSpeaker(None) for file in files}
    return Listing(
        speakers, [replace(file, id=ids[file.path]) for file in files], (), found.links, passed_over, found.by_ending()
    )


def _compile(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UserError(f"speaker_pattern {text!r}: not a regular expression ({error})") from None
    if "speaker" not in pattern.groupindex:
        raise UserError(f"speaker_pattern {text!r}: has no group (?P<speaker>…) that matches the speaker")
    return pattern


READER = Reader("a folder for each label", "<label>/", "<label>/…/<recording>", list_files, ("speaker_pattern",))
