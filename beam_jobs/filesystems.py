"""Beam's filesystems, for those who run Beam anyway; everybody else opens files with `beam_jobs.files`."""

from functools import lru_cache

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems as FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem as LocalFileSystem

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
