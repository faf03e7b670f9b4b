# SPDX-License-Identifier: Apache-2.0
"""What a reader finds in a corpus folder: who is heard in which file, before any audio is opened."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from beam_jobs.corpus.index import Rejected
from beam_jobs.errors import UserError
from beam_jobs.visible import visible

SHOWN = 40
"""Characters of a list's text that a message quotes: Common Voice's ids have 128 digits."""


class LineError(UserError):
    """A line of a list that cannot be used: `where` is its file and number, `why` the reason."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where, self.why = where, why

    @property
    def rejected(self) -> Rejected:
        """The line as a corpus's index names it, by the name of the list alone."""
        return Rejected(PurePosixPath(self.where).name, self.why)


def shown(text: str) -> str:
    """A list's text as a message quotes it: in quotation marks, the beginning of a long one."""
    return repr(visible(text[:SHOWN])) + ("…" if len(text) > SHOWN else "")


def same_name(text: str) -> str:
    """A name in the one form (NFC) in which two spellings of the same letters are equal: macOS writes `é` as two characters."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


@dataclass(frozen=True, slots=True)
class Labelling:
    """Where a corpus's labels are, where its layout leaves that open.

    `label_column` is the column of its list that holds them; None for the layout's own, the annotated sex. With
    `label_per_recording` the recordings of one speaker may have different labels, as those of an actor who is happy and sad;
    else that is a mistake in the list. `speaker_pattern` is a regular expression with a group `speaker`, for layouts whose
    file names alone say who speaks. `feedback` is a list of more recordings with theirs (`beam_jobs.corpus.feedback`), which any
    layout takes.
    """

    label_column: str | None = None
    label_per_recording: bool = False
    speaker_pattern: str | None = None
    feedback: str | None = None

    def check(self, reader: "Reader", root: Path) -> None:
        """Sees that `reader` takes what is set here.

        Raises:
            UserError: it does not.
        """
        for name, value in asdict(self).items():
            if value and name not in (*reader.takes, "feedback"):
                raise UserError(
                    f"{root}: {name} is {value!r}, and this is {reader.name}, which has no such setting; "
                    "leave it out, or list the recordings in an utterances.csv (docs/corpora.md)"
                )


THE_LAYOUT_S_OWN = Labelling()


@dataclass(frozen=True, slots=True)
class ListedSpeaker:
    """A speaker as the corpus's list has it: `female`, `male` or None for no usable label, and the split, where it fixes one."""

    label: str | None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file and who speaks in it. `path` is relative to the corpus root, `id` names the utterance.

    `label` is set where labels are the recordings' own; else the speaker's is it.
    """

    path: str
    id: str
    speaker: str
    subset: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a corpus lists. Every file's speaker is in `speakers`; the others are as in `SpeakerIndex`."""

    speakers: Mapping[str, ListedSpeaker]
    files: Sequence[ListedFile]
    unlisted: Sequence[str] = ()
    rejected: Sequence[Rejected] = ()
    passed_over: Sequence[Rejected] = ()
    other_files: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reader:
    """One layout that a corpus may have.

    A folder that holds the file `marker` has it. `list_files` takes the root, the subsets to read (None: all) and where the
    labels are; `takes` names what it can be told of the last.
    """

    name: str
    marker: str
    layout: str
    list_files: Callable[[Path, Sequence[str] | None, Labelling], Listing]
    takes: tuple[str, ...] = ()

    def looks_like(self, root: Path) -> bool:
        """Whether `root` has this layout."""
        return os.path.exists(root / self.marker)  # noqa: PTH110 (Path.exists raises where the folder may not be entered)

    @property
    def looks_for(self) -> str:
        """What `looks_like` looks for, in words."""
        return f"{self.marker} ({self.name})"


def choose_subsets(root: Path, present: Sequence[str], subsets: Sequence[str] | None) -> list[str]:
    """The subsets to read, sorted.

    Raises:
        UserError: one that is not there.
    """
    wanted = sorted(set(present if subsets is None else subsets))
    if missing := [subset for subset in wanted if subset not in present]:
        raise UserError(f"{root}: no subset {missing[0]!r}; present: {', '.join(present) or 'none'}")
    return wanted


def path_below_root(where: str, text: str, folder: str = "") -> str:
    """The path that a line of a list gives, in its shortest form; relative to `folder` of the corpus.

    Raises:
        LineError: it names no file inside the corpus; `where` is the line.
    """
    path = PurePosixPath(text)
    if path.is_absolute() or not path.name or ".." in path.parts or "\0" in text:
        raise LineError(where, f"{shown(text)} is not a path in the corpus; give the path below the corpus folder, without '..'")
    return (folder / path).as_posix()


def speaker_id(where: str, text: str) -> str:
    """A speaker's id as a line of a list gives it, in one spelling (`same_name`).

    Raises:
        LineError: it is empty, holds white space, which separates ids in `clips.csv`, or a stray quotation mark, which would make
            a second speaker; `where` is the line.
    """
    if not text or re.search(r"[\s\"]", text):
        raise LineError(where, f"{shown(text)} is not a valid speaker id; use a name without white space or quotation marks")
    return same_name(text)


def utterance_id(path: str) -> str:
    """A path without its ending as an utterance's id; white space, which separates ids in `clips.csv`, as `%20`."""
    return re.sub(r"[%\s]", lambda found: quote(found[0]), str(PurePosixPath(path).with_suffix("")))


def utterance_ids(paths: Mapping[str, str]) -> dict[str, str]:
    """Ids for paths, by what each is called: without its ending, where no other file is called so (`cut.flac`, `cut.mp3`)."""
    count = Counter(utterance_id(name) for name in paths.values())
    return {
        path: short if count[short := utterance_id(name)] == 1 else short + quote(PurePosixPath(name).suffix)
        for path, name in paths.items()
    }
