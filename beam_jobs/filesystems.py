"""Beam's filesystems, for those who run Beam anyway; everybody else opens files with `beam_jobs.files`."""

from collections.abc import Sequence
from functools import lru_cache

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems as FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem as LocalFileSystem
from apache_beam.options.pipeline_options import PipelineOptions

AS_IT_IS = CompressionTypes.UNCOMPRESSED
"""Else Beam compresses by a name's ending."""

try:
    import botocore.session
except ImportError:
    pass  # the extra `s3` is not installed
else:
    # Beam's S3 filesystem makes a boto3 session for every call, and each session reads botocore's descriptions of AWS anew:
    # 0.1 s of CPU and more; 0.02 s with one loader for all. To be dropped when Beam's S3IO keeps its client.
    botocore.session.create_loader = lru_cache(botocore.session.create_loader)


def set_filesystem_options(beam_options: Sequence[str]) -> None:
    """Gives Beam's filesystems their options, such as an S3 endpoint, before the pipeline that brings them is made."""
    FileSystems.set_options(PipelineOptions(list(beam_options)))


def filesystem_options() -> PipelineOptions:
    """The options that Beam's filesystems now have."""
    return FileSystems._pipeline_options or PipelineOptions([])


# Without any options Beam opens no `s3://` file at all, and a process that has made no pipeline yet has none.
if FileSystems._pipeline_options is None:
    set_filesystem_options([])
