# SPDX-License-Identifier: Apache-2.0
"""Beam's filesystems, for those who run Beam anyway; everybody else opens files with `beam_jobs.files`."""

import errno
import shutil
from collections.abc import Sequence
from copy import copy
from functools import cache
from pathlib import Path
from typing import IO, Any

from apache_beam.io.aws.clients.s3.boto3_client import Client
from apache_beam.io.aws.clients.s3.messages import ListRequest, S3ClientError
from apache_beam.io.aws.s3io import S3IO, parse_s3_path
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems as FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem as LocalFileSystem
from apache_beam.options.pipeline_options import PipelineOptions, S3Options
from apache_beam.utils import retry

AS_IT_IS = CompressionTypes.UNCOMPRESSED
"""Else Beam compresses by a name's ending."""
COPIED_BYTES = 8 << 20
_S3_OPTIONS = (
    *("s3_access_key_id", "s3_secret_access_key", "s3_session_token", "s3_endpoint_url"),
    *("s3_disable_ssl", "s3_region_name", "s3_api_version", "s3_verify"),
)
NOT_FOUND = 404
BEHIND_THE_END = 416
"""The HTTP status of a range of which the object holds nothing."""


def set_filesystem_options(beam_options: Sequence[str]) -> None:
    """Gives Beam's filesystems their options, such as an S3 endpoint, before the pipeline that brings them is made."""
    FileSystems.set_options(PipelineOptions(list(beam_options)))


def filesystem_options() -> PipelineOptions:
    """The options that Beam's filesystems now have."""
    return FileSystems._pipeline_options or PipelineOptions([])


def open_for_reading(path: str) -> IO[bytes]:
    """Opens a file as it is. Raises what the filesystem raises (`beam_jobs.files.storage_errors`)."""
    # A corpus has many small files, and Beam would make a client for each: 0.06 s of CPU, as botocore then reads its
    # descriptions of AWS anew. A copy of Beam's client shares boto3's, which threads may share, and has its own stream.
    s3 = path.startswith("s3://")
    file: IO[bytes] = S3IO(client=copy(_s3())).open(path) if s3 else FileSystems.open(path, compression_type=AS_IT_IS)
    return file


def read_range(path: str, offset: int, num_bytes: int) -> bytes:
    """See `beam_jobs.files.read_range`. Beam asks S3 for all that follows, and takes what it needs of what is on its way then."""
    if path.startswith("s3://"):
        bucket, key = parse_s3_path(path)
        part = f"bytes={offset}-{offset + num_bytes - 1}"
        s3 = _s3().client
        try:
            content: bytes = s3.get_object(Bucket=bucket, Key=key, Range=part)["Body"].read()
        except s3.exceptions.ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == BEHIND_THE_END:
                return b""
            if status == NOT_FOUND:
                raise FileNotFoundError(errno.ENOENT, error.response["Error"]["Message"], path) from None
            raise
        return content
    with FileSystems.open(path, compression_type=AS_IT_IS) as file:
        file.seek(offset)
        return bytes(file.read(num_bytes))


def fetch(uri: str, path: str) -> None:
    """See `beam_jobs.files.fetch`. boto3 fetches parts of a large object at once, which Beam does not."""
    if uri.startswith("s3://"):
        bucket, key = parse_s3_path(uri)
        _s3().client.download_file(bucket, key, path)
        return
    with FileSystems.open(uri, compression_type=AS_IT_IS) as source, Path(path).open("wb") as target:
        shutil.copyfileobj(source, target, COPIED_BYTES)


def list_contents(folder: str) -> dict[str, str]:
    """What tells each file below a folder from another of its name, by its path there: size and ETag, or its time.

    Raises what the filesystem raises (`beam_jobs.files.storage_errors`).
    """
    if not folder.startswith("s3://"):
        (match,) = FileSystems.match([FileSystems.join(folder, "**")])
        skipped = len(FileSystems.join(folder, ""))
        return {item.path[skipped:]: f"{item.size_in_bytes} {item.last_updated_in_seconds}" for item in match.metadata_list}
    bucket, prefix = parse_s3_path(f"{folder.rstrip('/')}/", object_optional=True)
    list_page = retry.with_exponential_backoff(retry_filter=retry.retry_on_server_errors_and_timeout_filter)(_s3().list)
    contents: dict[str, str] = {}
    request = ListRequest(bucket=bucket, prefix=prefix)
    while True:
        try:
            page = list_page(request)
        except S3ClientError as error:
            if error.code == 404:  # so Beam's client says that nothing is there
                return contents
            raise
        contents |= {item.key[len(prefix) :]: f"{item.size} {item.etag or item.last_modified}" for item in page.items}
        if not page.next_token:
            return contents
        request = ListRequest(bucket=bucket, prefix=prefix, continuation_token=page.next_token)


def _s3() -> Client:
    options = filesystem_options().view_as(S3Options)
    return _s3_client(*((name, getattr(options, name)) for name in _S3_OPTIONS))


@cache
def _s3_client(*options: tuple[str, Any]) -> Client:
    return Client(dict(options))


# Without any options Beam opens no `s3://` file at all, and a process that has made no pipeline yet has none.
if FileSystems._pipeline_options is None:
    set_filesystem_options([])
