"""The recordings of a corpus whose list names each file, held against what lies in its folder."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from beam_jobs.corpus.index import Rejected
from beam_jobs.corpus.listing import LineError, ListedFile, ListedSpeaker, Listing, same_name, shown, utterance_id
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
        self._named: dict[str, tuple[str, str, str]] = {}  # by the path in one spelling: path, speaker, line
        self._disputed: dict[str, str] = {}
        self._rejected: list[Rejected] = []

    def reject(self, error: LineError) -> None:
        """Names a line that cannot be used."""
        self._rejected.append(error.rejected)

    def add(self, where: str, path: str, speaker: str) -> None:
        """Takes up the file that the line `where` names, by its path below the root.

        Raises:
            LineError: an earlier line names it too, for the same speaker. A file for two speakers is left out altogether.
        """
        key, line = same_name(path), where.rsplit(":", 1)[1]
        _, first, first_line = self._named.setdefault(key, (path, speaker, line))
        if first != speaker:
            self._disputed[key] = f"listed for {shown(first)} in line {first_line} and for {shown(speaker)} in line {line}"
        elif first_line != line:
            raise LineError(where, f"{shown(path)} is listed a second time, as in line {first_line}; delete one of the two lines")

    def listing(self, speakers: Mapping[str, ListedSpeaker]) -> Listing:
        """What the list and the folder say together."""
        listed = [ListedFile(path, path, speaker, self._subset) for path, speaker, _ in self._named.values()]
        found = search(self._root)
        files = as_on_disk(listed, found)
        passed_over = not_listed(files, found, self._marker)
        disputed = [Rejected(file.path, why) for file in files if (why := self._disputed.get(same_name(file.path)))]
        ids = self._ids([file.id for file in files])
        used = [
            ListedFile(file.path, ids[file.id], file.speaker, file.subset)
            for file in files
            if same_name(file.path) not in self._disputed
        ]
        rejected = [*self._rejected, *disputed, *found.links, *found.unreadable]
        return Listing(speakers, used, (), rejected, passed_over, found.by_ending())

    def _ids(self, paths: list[str]) -> dict[str, str]:
        """Each path's utterance id: without its ending, where no other file is called so (`cut.flac`, `cut.mp3`)."""
        below = {path: path.removeprefix(f"{self._folder}/") if self._folder else path for path in paths}
        count = Counter(utterance_id(name) for name in below.values())
        return {
            path: short if count[short := utterance_id(name)] == 1 else short + quote(PurePosixPath(name).suffix)
            for path, name in below.items()
        }
