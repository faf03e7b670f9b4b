# SPDX-License-Identifier: Apache-2.0
"""Checks and unpacks an archive that came over a network and that nobody has looked into yet."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from beam_jobs.errors import UserError

MAX_MEMBERS = 1_000_000
_BLOCK_BYTES = 1 << 18

_NOT_TRUSTED = "which no corpus archive does; delete it and fetch it from another mirror"


class _Bounded:
    """Reads from `file`, and refuses to give more than `max_bytes`: whatever a header claims, no more is unpacked."""

    def __init__(self, file: gzip.GzipFile, max_bytes: int, name: Path) -> None:
        self._file, self._left, self._max_bytes, self._name = file, max_bytes, max_bytes, name

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise UserError(f"{self._name}: unpacks to more than {self._max_bytes / 1e6:.0f} MB, {_NOT_TRUSTED}")
        return data


def md5(path: Path, progress: Callable[[int], None]) -> str:
    """The file's MD5 in hexadecimal digits; `progress` is called with the bytes of each step."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            progress(len(block))
    return digest.hexdigest()


def unpack(archive: Path, folder: Path, max_bytes: int, progress: Callable[[int], None]) -> None:
    """Unpacks a .tar.gz of files and folders, and of nothing else, in one pass.

    Owners, modes and times are not taken over. Where the archive is refused, what came before the refused member is there.

    Args:
        archive: the file.
        folder: where to; a new folder, so that no link in it can lead elsewhere.
        max_bytes: largest size of the unpacked archive, headers included.
        progress: called with the bytes of the archive that each step has used up.

    Raises:
        UserError: a member that is no file or folder or that lies outside the folder, too many members, too large, cut
            short or damaged.
        OSError: the folder cannot be written.

    """
    folder.mkdir(parents=True)
    try:
        with archive.open("rb") as packed, gzip.open(packed) as unpacked:
            # tarfile's own "r|gz" takes a cut archive for a whole one where the cut falls between two members.
            bounded = _Bounded(unpacked, max_bytes, archive)
            with tarfile.open(fileobj=bounded, mode="r|", bufsize=_BLOCK_BYTES) as tar:  # type: ignore[call-overload]
                # Beside `_refusal`, where Python has it: the `filter` argument came with 3.11.4, and Debian 12 has 3.11.2.
                tar.extraction_filter = getattr(tarfile, "data_filter", None)
                done = 0
                for number, member in enumerate(tar, start=1):
                    if reason := _refusal(member, number):
                        raise UserError(f"{archive}: {reason}, {_NOT_TRUSTED}")
                    tar.extract(member, folder, set_attrs=False)
                    progress(packed.tell() - done)
                    done = packed.tell()
            # To the end, where gzip keeps its checksum.
            while bounded.read(_BLOCK_BYTES):
                pass
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise UserError(f"{archive}: damaged or cut short ({error}); delete it and fetch it again") from None


def _refusal(member: tarfile.TarInfo, number: int) -> str:
    path = PurePosixPath(member.name)
    name = f"holds {member.name[:200]!r}"
    if path.is_absolute() or ".." in path.parts:
        return f"{name}, a path that leaves the folder"
    # Links that stay inside are refused too: a later member could be written through them (CVE-2025-4517 shows how).
    if member.issym() or member.islnk():
        return f"{name}, a link"
    if not (member.isdir() or member.isreg()):
        return f"{name}, a device or another special file"
    if member.issparse() or member.size < 0:
        return f"{name}, a sparse file"
    if number > MAX_MEMBERS:
        return f"holds more than {MAX_MEMBERS} members"
    return ""
