# SPDX-License-Identifier: Apache-2.0
"""Shards of an object store on this machine's disk: never more than so many bytes, fetched once where they all fit."""

import errno
import gc
import hashlib
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Condition

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from beam_jobs.clip_store.reference import ClipsReference
from beam_jobs.dataset import ShardInfo
from beam_jobs.errors import UserError
from beam_jobs.files import cause, fetch, read_range, storage_errors

DEFAULT_SCRATCH_GB = 20.0
OPEN_SHARDS = 10
"""That training and its evaluation may have open at once, those that are fetched ahead included."""
FULL = (errno.ENOSPC, errno.EDQUOT)
PATIENCE_S = 300.0
"""With a store that does not answer: a training of hours must not end for a minute's trouble."""
WAIT_S = 60.0
"""For a reader to let go of a shard where there is no room for another."""


@dataclass(slots=True)
class _Kept:
    num_bytes: int
    users: int = 0
    ready: bool = False


class Scratch:
    """The folder. Its methods may be called from several threads, and raise UserError where there is no room or no shard."""

    def __init__(self, reference: ClipsReference, gigabytes: float, parent: str | None = None) -> None:
        self._shards = {reference.location(shard.file): shard for shard in reference.shards}
        self._gigabytes = gigabytes
        self._max_bytes = round(gigabytes * 1e9)
        self._parent = parent
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._changed = Condition()
        self.problem: UserError | None = None
        """The first one, for whoever called through TensorFlow, which lets no exception through."""

    @property
    def keeps_all(self) -> bool:
        """Whether there is room for every shard, so that what was fetched stays."""
        return sum(shard.num_bytes for shard in self._shards.values()) <= self._max_bytes

    def fetch_ahead(self, uri: str) -> str:
        """Fetches a shard that will soon be held. Returns its address."""
        self._acquire(uri)
        self._release(uri)
        return uri

    def hold(self, uri: str) -> Iterator[str]:
        """Yields a shard's path, once; it stays until the generator is gone on with or closed."""
        path = self._acquire(uri)
        try:
            yield path
        finally:
            self._release(uri)

    def read_range(self, uri: str, offset: int, num_bytes: int) -> bytes | None:
        """Part of a shard that is there; None where it is not."""
        with self._changed:  # so that nobody removes it meanwhile
            kept = self._kept.get(uri)
            return read_range(str(self._path(uri)), offset, num_bytes) if kept and kept.ready else None

    def lost(self) -> UserError | None:
        """What to say where somebody removed or cut a shard that was fetched."""
        with self._changed:
            for uri, kept in self._kept.items():
                path = self._path(uri)
                if kept.ready and (not path.is_file() or path.stat().st_size != kept.num_bytes):
                    return UserError(
                        f"{path}: this copy of {uri} was removed or changed while it was in use; set TMPDIR to a folder that "
                        "nothing else tidies, then start the run again"
                    )
        return None

    def close(self) -> None:
        """Removes the folder."""
        with self._changed:
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None
            self._kept.clear()

    def _path(self, uri: str) -> Path:
        if self._folder is None:
            self._check_room()
            self._folder = tempfile.TemporaryDirectory(prefix="clips-", dir=self._parent)
        return Path(self._folder.name) / self._shards[uri].file.replace("/", "-")

    def _check_room(self) -> None:
        sizes = sorted((shard.num_bytes for shard in self._shards.values()), reverse=True)
        least = sum(sizes[:OPEN_SHARDS])
        if self._max_bytes < least:
            raise UserError(
                f"data.scratch_gb {self._gigabytes:g} has no room for {OPEN_SHARDS} shards, which training has open at once; "
                f"set it to {least / 1e9:.2g} at least, or make smaller shards (clips.clips_per_shard)"
            )
        folder = self._parent or tempfile.gettempdir()
        free, wanted = shutil.disk_usage(folder).free, min(self._max_bytes, sum(sizes))
        if free < wanted:
            raise UserError(
                f"{folder}: {free / 1e9:.2g} GB are free and data.scratch_gb {self._gigabytes:g} takes {wanted / 1e9:.2g}; "
                f"set it lower ({least / 1e9:.2g} is the least), or give the step more storage"
            )

    def _acquire(self, uri: str) -> str:
        try:
            return self._acquired(uri)
        except UserError as error:
            self.problem = self.problem or error
            raise

    def _acquired(self, uri: str) -> str:
        shard = self._shards[uri]
        with self._changed:
            path = self._path(uri)
            while (kept := self._kept.get(uri)) is not None and not kept.ready:
                self._changed.wait()
            if kept is not None:
                kept.users += 1
                self._kept.move_to_end(uri)
                return str(path)
            self._make_room(shard.num_bytes)
            kept = self._kept[uri] = _Kept(shard.num_bytes, users=1)
        try:
            self._fetch(uri, shard, path)
        except BaseException:
            with self._changed:
                self._kept.pop(uri, None)
                path.unlink(missing_ok=True)
                self._changed.notify_all()
            raise
        with self._changed:
            kept.ready = True
            self._changed.notify_all()
        return str(path)

    def _release(self, uri: str) -> None:
        with self._changed:
            if (kept := self._kept.get(uri)) is not None:
                kept.users -= 1
                self._changed.notify_all()

    def _make_room(self, num_bytes: int) -> None:
        """Removes what nobody has open, what was used longest ago first."""
        for attempt in range(2):
            while self._taken() + num_bytes > self._max_bytes:
                unused = next((uri for uri, kept in self._kept.items() if kept.ready and not kept.users), None)
                if unused is None:
                    break
                self._path(unused).unlink(missing_ok=True)
                del self._kept[unused]
            if self._taken() + num_bytes <= self._max_bytes:
                return
            if not attempt:
                gc.collect()  # a pass over the clips that was broken off lets go when it is gone
                self._changed.wait(WAIT_S)
        raise UserError(f"data.scratch_gb {self._gigabytes:g} has no room for the shards that are read at once; set it higher")

    def _taken(self) -> int:
        return sum(kept.num_bytes for kept in self._kept.values())

    def _fetch(self, uri: str, shard: ShardInfo, path: Path) -> None:
        patiently = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_delay(PATIENCE_S),
            wait=wait_exponential(max=PATIENCE_S / 10),
            reraise=True,
        )
        try:
            patiently(fetch, uri, str(path))
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except storage_errors() as error:
            if getattr(error, "errno", None) in FULL:
                raise UserError(
                    f"{path.parent}: {cause(error)}; set data.scratch_gb (now {self._gigabytes:g}) lower, or give the step more "
                    "storage"
                ) from None
            raise UserError(
                f"{uri}: cannot be fetched ({cause(error)}); see that it is there and that the store is in order, then start the "
                "run again, which checks the dataset anew"
            ) from None
        if sha256 != shard.sha256:
            raise UserError(f"{uri}: its checksum is not {shard.sha256}; start the run again, which checks the dataset anew")


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed a little later: no answer, or a server that fails."""
    if not isinstance(error, storage_errors()) or isinstance(error, FileNotFoundError):
        return False
    if getattr(error, "errno", None) in FULL:
        return False
    status = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    return bool(status >= 500 or status == 429)
