# SPDX-License-Identifier: Apache-2.0
"""Whole files in local folders and on Beam's other filesystems: `gs://`, `s3://`, `hdfs://`.

Local files are opened without Beam, whose import takes two seconds: commands that only read a work folder start without it.
"""

import os
import re
import shutil
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from beam_jobs.paths import check_file, is_uri


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of a folder. `modified_s` is in seconds since the epoch."""

    path: str
    num_bytes: int
    modified_s: float


def _beam() -> Any:
    from beam_jobs.filesystems import FileSystems

    return FileSystems


def storage_errors() -> tuple[type[Exception], ...]:
    """What Beam's filesystems raise, and boto3 below them; BeamIOError is an OSError, the others are not."""
    s3, boto = sys.modules.get("apache_beam.io.aws.clients.s3.messages"), sys.modules.get("botocore.exceptions")
    of_boto = (boto.ClientError, boto.BotoCoreError, sys.modules["boto3.exceptions"].Boto3Error) if boto else ()
    return (OSError, *((s3.S3ClientError,) if s3 else ()), *of_boto)


def join(folder: str, *names: str) -> str:
    """The path of what lies in a folder."""
    path: str = os.path.join(folder, *names) if not is_uri(folder) else _beam().join(folder, *names)  # noqa: PTH118
    return path


def open_file(path: str) -> IO[bytes]:
    """Opens a file as it is, whatever its name ends with. Raises OSError where there is none, or no file (`check_file`)."""
    if not is_uri(path):
        check_file(path)
        return Path(path).open("rb")
    from beam_jobs.filesystems import open_for_reading

    return open_for_reading(path)


def file_state(path: str) -> str:
    """What the file system says of a local file's content: the kernel sets the last of the times, whoever sets the others."""
    try:
        stat = Path(path).stat()
    except OSError:
        return "gone"
    return f"{stat.st_size} {stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def read_range(path: str, offset: int, num_bytes: int) -> bytes:
    """Reads part of a file, and of an object store no more than that. Raises what `storage_errors` lists."""
    if is_uri(path):
        from beam_jobs.filesystems import read_range as read_remote

        return read_remote(path, offset, num_bytes)
    with open_file(path) as file:
        file.seek(offset)
        return file.read(num_bytes)


def fetch(uri: str, path: str) -> None:
    """Copies a file of another filesystem to a local path. Raises what `storage_errors` lists."""
    from beam_jobs.filesystems import fetch as fetch_remote

    fetch_remote(uri, path)


def absolute(path: str) -> str:
    """A local path from the root on, so that an error that names it can be read anywhere; another filesystem's as it is."""
    return path if "://" in path else str(Path(path).absolute())


def read_text(path: str) -> str:
    """Reads a whole text file. Raises OSError where there is none."""
    with open_file(path) as file:
        return file.read().decode()


def list_files(folder: str) -> list[ListedFile]:
    """The files of a folder, sorted by path; none where it is not there."""
    if not is_uri(folder):
        found = [(str(path), path.stat()) for path in Path(folder).glob("*") if path.is_file()]
        files = [ListedFile(path, stat.st_size, stat.st_mtime) for path, stat in found]
    else:
        (match,) = _beam().match([join(folder, "*")])
        files = [ListedFile(item.path, item.size_in_bytes, item.last_updated_in_seconds) for item in match.metadata_list]
    return sorted(files, key=lambda file: file.path)


def create(path: str) -> IO[bytes]:
    """Opens a file for writing, as it is: no compression by its name's ending. Makes its folder."""
    if not is_uri(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return Path(path).open("wb")
    from beam_jobs.filesystems import AS_IT_IS

    file: IO[bytes] = _beam().create(path, compression_type=AS_IT_IS)
    return file


def copy_file(source: str, target: str) -> None:
    """Copies a file between any two of these filesystems. Raises what `storage_errors` lists."""
    with open_file(source) as original, create(target) as made:
        shutil.copyfileobj(original, made, 1 << 20)


def fsync(file: IO[bytes]) -> None:
    """Puts what was written to a local file on disk and out of memory; other filesystems see to it themselves.

    A file that is renamed before its content is on disk may be found empty after a power failure. And a job writes far more
    than memory holds: pages that nobody reads again would push the corpus out, and cost a new one for each that is written.
    """
    try:
        descriptor = file.fileno()
    except OSError:  # io.UnsupportedOperation: not a local file
        return
    file.flush()
    os.fdatasync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def write_atomically(path: str, content: bytes, temporary_folder: str | None = None) -> None:
    """Writes a file that appears under its name whole or not at all; by way of `temporary_folder`, if not beside it."""
    folder, name = os.path.split(path) if not is_uri(path) else _beam().split(path)
    temporary = join(temporary_folder or folder, f"{name}.{uuid.uuid4().hex}.tmp")
    try:
        with create(temporary) as file:
            file.write(content)
            fsync(file)
        move(temporary, path)
    except BaseException:
        remove(temporary)
        raise


def move(source: str, target: str) -> None:
    """Renames a file, over one that is there."""
    if not is_uri(target):
        os.replace(source, target)  # noqa: PTH105 (the paths are strings here)
        return
    # Of Beam's filesystems HDFS alone refuses that.
    if _beam().get_scheme(target) == "hdfs":
        remove(target)
    _beam().rename([source], [target])


def remove(path: str) -> None:
    """Removes a file, or a local folder with what is in it, if it is there."""
    if not is_uri(path):
        if Path(path).is_dir():
            shutil.rmtree(path)
        else:
            Path(path).unlink(missing_ok=True)
    elif _beam().exists(path):
        _beam().delete([path])


def remove_folder(path: str) -> None:
    """Removes a folder with what is in it, if it is there."""
    if not is_uri(path) or _beam().get_filesystem(path).has_dirs():
        remove(path)
    else:
        # To an object store a folder is nothing but how names begin.
        _beam().delete([join(path, "")])


def cause(error: BaseException) -> str:
    """What the system said, without numbers and class names: `No space left on device`."""
    text = str(getattr(error, "message", None) or error)
    return getattr(error, "strerror", None) or re.sub(r"^.*\[Errno \d+\] ", "", text)
