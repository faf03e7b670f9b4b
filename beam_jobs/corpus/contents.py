# SPDX-License-Identifier: Apache-2.0
"""What a corpus's files hold: a digest of each, computed once and remembered.

A local file is known by the SHA-256 of its bytes. It is read again only where its size, its modification time or its time of
change (which nobody can set) is another one. On an object store nothing is read: the listing says what a file holds (S3: its
ETag; elsewhere its time).
"""

import hashlib
import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from beam_jobs.console import progress
from beam_jobs.corpus.index import Speaker, SpeakerIndex, Utterance
from beam_jobs.errors import UserError
from beam_jobs.files import cause, storage_errors, write_atomically
from beam_jobs.paths import check_file, is_uri

BATCH = 64  # files; a task for each would cost as much as hashing a short one
SETTLED_NS = 2_000_000_000
"""A file that changed so shortly ago may change again and keep its times: some file systems' clocks tick as slowly."""
CACHE_VERSION = 1


class Content(NamedTuple):
    """What a file holds, and what it looked like when that was found out. Times are 0 on object stores."""

    num_bytes: int
    modified_ns: int
    changed_ns: int
    digest: str


Contents = Mapping[str, Content]
"""By an utterance's path. A file that cannot be read is not in it."""


def read_contents(index: SpeakerIndex, known: Contents | None = None) -> Contents:
    """The content of every file of a corpus; shows a bar meanwhile.

    Args:
        index: of the corpus.
        known: what was read a moment ago; None for what the user's cache remembers (`cache_file`), which is then brought up to
            date.

    Raises:
        UserError: an object store cannot be listed, or has none of the files.
    """
    if is_uri(index.root):
        return _listed(index)
    store = cache_file(index.root) if known is None else None
    before = _load(store) if store else known or {}
    paths = [utterance.path for utterance in index.utterances()]
    started_ns = time.time_ns()
    contents: dict[str, Content] = {}
    with progress("reading the recordings", len(paths), "files") as advance:
        for batch in _in_parallel(index.root, before, paths):
            contents |= {path: content for path, content in batch if content}
            advance(len(batch))
    if store:
        _save(store, index.root, before, {k: v for k, v in contents.items() if v.changed_ns < started_ns - SETTLED_NS})
    return contents


def _listed(index: SpeakerIndex) -> Contents:
    from beam_jobs.filesystems import list_contents

    try:
        listed = list_contents(index.root)
    except storage_errors() as error:
        raise UserError(f"{index.root}: cannot be listed ({cause(error)}); check what you may read there") from None
    paths = [utterance.path for utterance in index.utterances()]
    contents = {path: Content(0, 0, 0, listed[path]) for path in paths if path in listed}
    if not contents:
        raise UserError(f"{index.root}: none of the corpus's {len(paths)} files is there; check the address")
    return contents


def duplicates(index: SpeakerIndex, contents: Contents) -> list[list[tuple[Speaker, Utterance]]]:
    """Files of one content, in groups of two and more, in the order of the index."""
    groups: dict[str, list[tuple[Speaker, Utterance]]] = defaultdict(list)
    for speaker in index.speakers:
        for utterance in speaker.utterances:
            if content := contents.get(utterance.path):
                groups[content.digest].append((speaker, utterance))
    return [group for group in groups.values() if len(group) > 1]


def cache_file(root: str) -> Path:
    """Where the digests of a local corpus are remembered, for all commands and work folders of this user."""
    # Where there is no home, or it cannot be written, `beam_jobs.surroundings` has named another folder.
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 (Path.home may raise)
    name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:16]
    return Path(home) / "audio-gender" / "contents" / f"{name}.json"


def _in_parallel(root: str, known: Contents, paths: Sequence[str]) -> Iterator[list[tuple[str, Content | None]]]:
    stopped = threading.Event()

    def work(batch: Sequence[str]) -> list[tuple[str, Content | None]]:
        return [(path, _content(root, path, known.get(path))) for path in batch if not stopped.is_set()]

    with ThreadPoolExecutor() as pool:  # hashlib lets other threads run
        try:
            yield from pool.map(work, (paths[start : start + BATCH] for start in range(0, len(paths), BATCH)))
        finally:
            stopped.set()  # Ctrl-C must not wait for what the threads still have to do
            pool.shutdown(cancel_futures=True)


def _content(root: str, path: str, known: Content | None) -> Content | None:
    place = os.path.join(root, path)  # noqa: PTH118 (a Path costs as much as the rest of what a known file costs)
    try:
        if known and known[:3] == _looks(os.stat(place)):  # noqa: PTH116
            return known
        check_file(place)
        with open(place, "rb") as file:  # noqa: PTH123
            looks = _looks(os.fstat(file.fileno()))
            return Content(*looks, hashlib.file_digest(file, "sha256").hexdigest())
    except (OSError, UnicodeEncodeError):
        return None


def _looks(state: os.stat_result) -> tuple[int, int, int]:
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _load(store: Path) -> Contents:
    with suppress(
        OSError, ValueError, KeyError, TypeError, AttributeError
    ):  # not there or not whole: hashed anew and written over
        data = json.loads(store.read_bytes().partition(b"\n")[2])
        if data["version"] == CACHE_VERSION:
            return {path: Content(*values) for path, values in data["contents"].items()}
    return {}


def _save(store: Path, root: str, before: Contents, contents: Contents) -> None:
    if contents.items() <= before.items():
        return
    text = json.dumps({"version": CACHE_VERSION, "contents": {**before, **contents}}, ensure_ascii=False)
    with suppress(OSError):  # a cache that cannot be written costs time and nothing else
        write_atomically(str(store), f"{json.dumps(os.path.realpath(root))}\n{text}".encode())
        _forget_lost_corpora(store.parent)


def _forget_lost_corpora(folder: Path) -> None:
    for store in folder.glob("*.json"):
        with suppress(OSError, ValueError), store.open("rb") as file:
            if not os.path.isdir(json.loads(file.readline())):  # noqa: PTH112
                store.unlink()
