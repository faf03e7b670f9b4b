"""Whole files on any of Beam's filesystems: local folders, `gs://`, `s3://`, `hdfs://`."""

import os
import re
import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import IO

from apache_beam.io.aws.clients.s3.messages import S3ClientError
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

try:
    import botocore.session
except ImportError:
    pass  # the extra `s3` is not installed
else:
    # Beam's S3 filesystem makes a boto3 session for every call, and each session reads botocore's descriptions of AWS anew:
    # 0.1 s of CPU and more; 0.02 s with one loader for all. To be dropped when Beam's S3IO keeps its client.
    botocore.session.create_loader = lru_cache(botocore.session.create_loader)

STORAGE_ERRORS = (OSError, S3ClientError)
"""What Beam's filesystems raise; its BeamIOError is an OSError, its S3ClientError is not."""


def set_filesystem_options(beam_options: Sequence[str]) -> None:
    """Gives Beam's filesystems their options, such as an S3 endpoint, before the pipeline that brings them is made."""
    FileSystems.set_options(PipelineOptions(list(beam_options)))


def filesystem_options() -> PipelineOptions:
    """The options that Beam's filesystems now have."""
    return FileSystems._pipeline_options or PipelineOptions([])


# Without any options Beam opens no `s3://` file at all, and a process that has made no pipeline yet has none.
if FileSystems._pipeline_options is None:
    set_filesystem_options([])


def read_text(path: str) -> str:
    """Reads a whole text file. Raises OSError where there is none."""
    try:
        with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            text: str = file.read().decode()
            return text
    except BeamIOError as error:
        raise OSError(str(error)) from None


def create(path: str) -> IO[bytes]:
    """Opens a file for writing, as it is: no compression by its name's ending."""
    file: IO[bytes] = FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return file


def settle(file: IO[bytes]) -> None:
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


def write_whole(path: str, content: bytes, temporary_folder: str | None = None) -> None:
    """Writes a file that appears under its name whole or not at all; by way of `temporary_folder`, if not beside it."""
    name = f"{FileSystems.split(path)[1]}.{uuid.uuid4().hex}.tmp"
    temporary = FileSystems.join(temporary_folder or FileSystems.split(path)[0], name)
    try:
        with create(temporary) as file:
            file.write(content)
        move(temporary, path)
    except BaseException:
        remove(temporary)
        raise


def move(source: str, target: str) -> None:
    """Renames a file, over one that is there."""
    # Of Beam's filesystems HDFS alone refuses that.
    if FileSystems.get_scheme(target) == "hdfs":
        remove(target)
    FileSystems.rename([source], [target])


def remove(path: str) -> None:
    """Removes a file, if it is there."""
    if FileSystems.exists(path):
        FileSystems.delete([path])


def remove_folder(path: str) -> None:
    """Removes a folder with what is in it, if it is there."""
    if FileSystems.get_filesystem(path).has_dirs():
        remove(path)
    else:
        # To an object store a folder is nothing but how names begin.
        FileSystems.delete([FileSystems.join(path, "")])


def cause(error: BaseException) -> str:
    """What the system said, without numbers and class names: `No space left on device`."""
    text = str(getattr(error, "message", None) or error)
    return getattr(error, "strerror", None) or re.sub(r"^.*\[Errno \d+\] ", "", text)
