# SPDX-License-Identifier: Apache-2.0
"""What lies in a corpus folder: each file is a recording by its name, or counted by its ending."""

import errno
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from beam_jobs.audio import is_recording
from beam_jobs.corpus.index import Rejected
from beam_jobs.corpus.listing import ListedFile, same_name
from beam_jobs.errors import UserError
from beam_jobs.folders import files_below, is_hidden


@dataclass
class Found:
    """The files of a folder, by their paths below the corpus's root.

    Attributes:
        recordings: what is a recording by its name, in order.
        others: what is none.
        links: links to nowhere, and to a folder that they lie in.
        unreadable: folders that cannot be read.
    """

    recordings: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    links: list[Rejected] = field(default_factory=list)
    unreadable: list[Rejected] = field(default_factory=list)

    def check(self, root: Path) -> None:
        """Makes sure that every folder could be read: what lies there would be missed.

        Raises:
            UserError: some could not; it names them.
        """
        if self.unreadable:
            some = ", ".join(f"{item.path} ({item.reason})" for item in self.unreadable[:3])
            more = f" and {len(self.unreadable) - 3} more" if len(self.unreadable) > 3 else ""
            raise UserError(
                f"{root}: folders that cannot be read: {some}{more}; change their permissions, or move them out of the corpus"
            )

    def by_ending(self) -> dict[str, int]:
        """How many there are of `others`, by ending."""
        return dict(sorted(Counter(PurePosixPath(path).suffix.lower() or "no ending" for path in self.others).items()))


def search(root: Path, skipped: Iterable[str] = ()) -> Found:
    """Looks through a corpus folder; names that begin with a dot are passed over, and so are the folders `skipped` in it."""
    found = Found()
    skipped = set(skipped)

    def problem(error: OSError) -> None:
        kind = found.links if error.errno == errno.ELOOP else found.unreadable
        kind.append(Rejected(str(error.filename), error.strerror or "cannot be read"))

    for path in files_below(root, problem, is_hidden, skipped):
        if is_recording(path.rsplit("/", 1)[-1]):
            found.recordings.append(path)
        else:
            try:
                os.stat(root / path)  # noqa: PTH116 (a name of any bytes)
                found.others.append(path)
            except PermissionError as error:  # a link into a folder that may not be entered: what lies there is not known
                found.unreadable.append(Rejected(path, error.strerror or "cannot be read"))
            except OSError:
                found.links.append(Rejected(path, "a link that leads nowhere"))
    return found


def subset_folders(root: Path) -> list[str]:
    """The folders that lie in a corpus's root, sorted.

    Raises:
        UserError: the root cannot be read.
    """
    try:
        return sorted(path.name for path in root.iterdir() if os.path.isdir(path) and not is_hidden(path.name))  # noqa: PTH112
    except OSError as error:
        raise UserError(f"{root}: cannot be read ({error.strerror}); name a folder that you have permission to read") from None


def as_on_disk(files: Iterable[ListedFile], found: Found) -> list[ListedFile]:
    """The files of a list under the names that they have on disk, which may spell the same letters otherwise (NFD)."""
    there = {*found.recordings, *found.others}
    spelt = {same_name(path): path for path in there if not path.isascii()}
    return [file if file.path in there else replace(file, path=spelt.get(same_name(file.path), file.path)) for file in files]


def not_listed(files: Iterable[ListedFile], found: Found, marker: str) -> list[Rejected]:
    """The recordings that a list does not name; what it does name is no longer among the others."""
    listed = {file.path for file in files}
    found.others = [path for path in found.others if path not in listed and path != marker]
    return [Rejected(path, f"not listed in {marker}") for path in found.recordings if path not in listed]


def without_copies(files: Iterable[ListedFile]) -> tuple[list[ListedFile], list[Rejected]]:
    """Each utterance once where it lies in a folder in several formats (`1.flac`, `1.wav`): the first by name; and the others."""
    first: dict[tuple[str, str], ListedFile] = {}
    copies = []
    for file in sorted(files, key=lambda file: file.path):
        kept = first.setdefault((str(PurePosixPath(file.path).parent), file.id), file)
        if kept is not file:
            copies.append(Rejected(file.path, f"the same utterance as, in another format, {kept.path}"))
    return list(first.values()), copies
