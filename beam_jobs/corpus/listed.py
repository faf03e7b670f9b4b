# SPDX-License-Identifier: Apache-2.0
"""The recordings of a corpus whose list names each file, held against what lies in its folder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from beam_jobs.corpus.index import Rejected
from beam_jobs.corpus.listing import LineError, ListedFile, ListedSpeaker, Listing, same_name, shown, utterance_ids
from beam_jobs.corpus.search import as_on_disk, not_listed, search


class FileList:
    """The files that the lines of a list name.

    Args:
        root: the corpus folder.
        marker: the list's name.
        subset: what all files' subset is called.
        folder: where in the corpus the list's paths begin; it is no part of an utterance's id.
    """

    def __init__(self, root: Path, marker: str, subset: str, folder: str = "") -> None:
        self._root, self._marker, self._subset, self._folder = root, marker, subset, folder
        self._named: dict[str, tuple[ListedFile, str]] = {}  # by the path in one spelling: the file and its line
        self._disputed: dict[str, str] = {}
        self._rejected: list[Rejected] = []

    def reject(self, error: LineError) -> None:
        """Names a line that cannot be used."""
        self._rejected.append(error.rejected)

    def add(self, where: str, path: str, speaker: str, label: str | None = None) -> None:
        """Takes up the file that the line `where` names, by its path below the root; `label` is the recording's own.

        Raises:
            LineError: an earlier line names it too, for the same speaker. A file for two speakers is left out altogether.
        """
        key, line = same_name(path), where.rsplit(":", 1)[1]
        file, first_line = self._named.setdefault(key, (ListedFile(path, path, speaker, self._subset, label), line))
        if file.speaker != speaker:
            self._disputed[key] = f"listed for {shown(file.speaker)} in line {first_line} and for {shown(speaker)} in line {line}"
        elif first_line != line:
            raise LineError(where, f"{shown(path)} is listed twice, first in line {first_line}; delete one of the lines")

    def listing(self, speakers: Mapping[str, ListedSpeaker]) -> Listing:
        """What the list and the folder say together."""
        listed = [file for file, _ in self._named.values()]
        found = search(self._root)
        files = as_on_disk(listed, found)
        passed_over = not_listed(files, found, self._marker)
        disputed = [Rejected(file.path, why) for file in files if (why := self._disputed.get(same_name(file.path)))]
        prefix = f"{self._folder}/" if self._folder else ""
        ids = utterance_ids({file.id: file.id.removeprefix(prefix) for file in files})
        used = [replace(file, id=ids[file.id]) for file in files if same_name(file.path) not in self._disputed]
        rejected = [*self._rejected, *disputed, *found.links, *found.unreadable]
        return Listing(speakers, used, (), rejected, passed_over, found.by_ending())
