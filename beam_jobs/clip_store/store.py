# SPDX-License-Identifier: Apache-2.0
"""Clips by split, by id, and shard by shard."""

import hashlib
import io
import itertools
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import IO, Self

from beam_jobs.clip_store.reference import ClipsReference
from beam_jobs.clip_store.scratch import DEFAULT_SCRATCH_GB, Scratch
from beam_jobs.dataset import INFO_FILE, ShardInfo, changed_files, fingerprint, read_dataset_info
from beam_jobs.errors import UserError
from beam_jobs.examples import IndexEntry, RecordError, decode_clip, decode_index_entry, read_records
from beam_jobs.files import cause, file_state, open_file, read_range, storage_errors

CHANGED = "the dataset was changed since it was checked; start the run again, which checks it anew"
FILE_CHANGED = f"{CHANGED}; if that finds nothing, generate the dataset again"
UNREADABLE = "see to it that this user may read it and that its disk or store is in order, then start the run again"
READ_BYTES = 8 << 20


class ClipsError(UserError):
    """Clips that cannot be read, or are no longer what was checked: whoever tries again meets the same."""


class ClipStore:
    """The clips of a reference, to be used as a context manager.

    Args:
        reference: which clips.
        scratch_gb: how much of an object store's shards `hold` keeps on this machine's disk.

    Raises UserError from every method where something cannot be read or is not what was checked.
    """

    def __init__(self, reference: ClipsReference, scratch_gb: float = DEFAULT_SCRATCH_GB) -> None:
        if reference.is_local and fingerprint(reference.dataset_uri) != reference.fingerprint:
            changed = changed_files(reference.dataset_uri, read_dataset_info(reference.dataset_uri))
            raise ClipsError(
                f"{reference.dataset_uri}: {CHANGED} (the first file that differs: {next(iter(changed), INFO_FILE)})"
            )
        self.reference = reference
        self.scratch = None if reference.is_local else Scratch(reference, scratch_gb)
        self._states = self._look() if reference.is_local else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Removes what was fetched."""
        if self.scratch is not None:
            self.scratch.close()

    @contextmanager
    def errors(self, of_damage: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Surrounds reading through TensorFlow, whose errors name no file and which cannot hold a crop against a checksum.

        Args:
            of_damage: errors that bytes can cause which changed without anybody writing them. All files are read then.

        Raises:
            ClipsError: a shard could not be fetched, or a file is not what was checked, whether that stopped the reader or not.
        """
        try:
            yield
        except Exception as error:
            if self.scratch is not None and (problem := self.scratch.problem or self.scratch.lost()) is not None:
                raise ClipsError(str(problem)) from None
            self.check_files(all_of_them=isinstance(error, of_damage))
            raise
        self.check_files()

    def check_files(self, all_of_them: bool = False) -> None:
        """Holds local files against their checksums: those that were touched since the store was opened, or all of them."""
        if not self.reference.is_local:
            return
        now = self._look()
        contents = {name: content for shard in self.reference.shards for name, content in shard.contents.items()}
        changed = [name for name in contents if now[name] != self._states[name]]
        for name in contents if all_of_them else changed:
            path = self.reference.location(name)
            with _read_errors(path), open_file(path) as file:
                _Hashed(file).check(*contents[name])
            self._states[name] = now[name]  # it was only touched

    def _look(self) -> dict[str, str]:
        return {name: file_state(self.reference.location(name)) for shard in self.reference.shards for name in shard.contents}

    def shards(self, split: str) -> dict[str, int]:
        """Number of clips by the path or address of the shard, in the order of the clips."""
        return {self.reference.location(shard.file): shard.num_records for shard in self.reference.of_split(split)}

    def index(self, shard: ShardInfo) -> list[IndexEntry]:
        """Where each clip of a shard lies, and all but its samples."""
        return _entries(self.reference.location(shard.index_file), shard.index_sha256)

    def entries(self, split: str) -> Iterator[IndexEntry]:
        """The index of a whole split."""
        return itertools.chain.from_iterable(map(self.index, self.reference.of_split(split)))

    def records(self, split: str, ids: Collection[str]) -> dict[str, bytes]:
        """The records of single clips, by id, in the order of the clips; those that the split has not are left out."""
        found: dict[str, bytes] = {}
        for shard in self.reference.of_split(split):
            if len(found) == len(ids):
                break
            found |= {entry.clip.id: self._read(shard, entry) for entry in self.index(shard) if entry.clip.id in ids}
        return found

    def spread(self, split: str, count: int) -> Iterator[bytes]:
        """The first `count` records, one of each shard in turn."""
        shards = self.reference.of_split(split)[:count]  # each has a record: the indexes of others are not needed
        rows = itertools.zip_longest(*([(shard, entry) for entry in self.index(shard)] for shard in shards))
        chosen = (item for row in rows for item in row if item is not None)
        return itertools.starmap(self._read, itertools.islice(chosen, count))

    def _read(self, shard: ShardInfo, entry: IndexEntry) -> bytes:
        path = self.reference.location(shard.file)
        with _read_errors(path):
            framed = self.scratch.read_range(path, entry.offset, entry.num_bytes) if self.scratch is not None else None
            if framed is None:
                framed = read_range(path, entry.offset, entry.num_bytes)
            if len(framed) < entry.num_bytes:
                raise RecordError(f"the file ends before clip {entry.clip.id} does")
            (record,) = read_records(io.BytesIO(framed))
            if decode_clip(record).id != entry.clip.id:
                raise RecordError(f"clip {entry.clip.id} is not where the index says")
        return record


def stream_shard(reference: ClipsReference, shard: ShardInfo, remedy: str = FILE_CHANGED) -> Iterator[bytes]:
    """All records of a shard, read once from where it lies. The last comes when the whole file is known to be what was checked.

    Raises:
        UserError: it cannot be read or is not what the reference says; with `remedy` at its end.
    """
    path = reference.location(shard.file)
    with _read_errors(path, remedy), open_file(path) as opened:
        file, last = _Hashed(opened), None
        try:
            for record in read_records(file):  # type: ignore[arg-type]
                if last is not None:
                    yield last
                last = record
        except RecordError:
            file.check(shard.num_bytes, shard.sha256)  # which says more
            raise
        file.check(shard.num_bytes, shard.sha256)
        if last is not None:
            yield last


class _Hashed:
    """A file that hashes what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest, self._num_bytes = file, hashlib.sha256(), 0

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self._digest.update(content)
        self._num_bytes += len(content)
        return content

    def check(self, num_bytes: int, sha256: str) -> None:
        """Reads what is left, and raises RecordError where the file as a whole is not what it should be."""
        while self.read(READ_BYTES):
            pass
        if self._num_bytes != num_bytes:
            raise RecordError(f"{self._num_bytes} bytes where {INFO_FILE} says {num_bytes}")
        if self._digest.hexdigest() != sha256:
            raise RecordError(f"its checksum is not the one in {INFO_FILE}, the file was changed")


@lru_cache(maxsize=64)
def _entries(path: str, sha256: str) -> list[IndexEntry]:
    with _read_errors(path):
        return [decode_index_entry(record) for record in read_records(io.BytesIO(_read_whole(path, sha256)))]


def read_index(reference: ClipsReference, shard: ShardInfo, remedy: str = FILE_CHANGED) -> bytes:
    """The whole index file of a shard.

    Raises:
        UserError: as `stream_shard`.
    """
    path = reference.location(shard.index_file)
    with _read_errors(path, remedy):
        return _read_whole(path, shard.index_sha256)


def _read_whole(path: str, sha256: str) -> bytes:
    with open_file(path) as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RecordError(f"its checksum is not the one in {INFO_FILE}, the file was changed")
    return content


@contextmanager
def _read_errors(path: str, remedy: str = FILE_CHANGED) -> Iterator[None]:
    try:
        yield
    except RecordError as error:
        raise ClipsError(f"{path}: {error}; {remedy}") from None
    except storage_errors() as error:
        remedy = remedy if isinstance(error, FileNotFoundError) else UNREADABLE
        raise ClipsError(f"{path}: named in {INFO_FILE}, and cannot be read ({cause(error)}); {remedy}") from None
