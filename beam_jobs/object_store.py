# SPDX-License-Identifier: Apache-2.0
"""Whether an S3 bucket can be reached, asked once and quickly: Beam's own client tries for seven minutes."""

from urllib.parse import urlsplit

from beam_jobs.errors import UserError
from beam_jobs.paths import is_uri

ATTEMPTS = 3
TIMEOUT_S = 10


def check_reachable(uri: str) -> None:
    """Makes sure that an address is one that can be opened, and of `s3://` that the bucket is there and lets us in.

    Raises:
        UserError: no such kind of address, the store does not answer, refuses the credentials, or has no such bucket.
    """
    if not is_uri(uri):
        return
    address = urlsplit(uri)
    if address.scheme != "s3":
        from apache_beam.io.filesystem import BeamIOError

        from beam_jobs.filesystems import FileSystems

        try:
            FileSystems.get_filesystem(uri)
        except (ValueError, BeamIOError):  # an unknown scheme, or a package or an option that it needs is not there
            raise UserError(
                f"{uri}: {address.scheme}:// cannot be opened here; give a path on this machine, or s3://, or gs:// and hdfs:// "
                "with what Beam needs for them (docs/scaling.md)"
            ) from None
        return
    from apache_beam.options.pipeline_options import S3Options

    from beam_jobs.filesystems import filesystem_options

    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise UserError(
            f"{uri}: s3:// needs the package boto3; `make setup EXTRAS=s3` installs it, or s3.lock beside the wheel"
        ) from None
    options = filesystem_options().view_as(S3Options)
    try:
        client = boto3.Session().client(
            "s3",
            endpoint_url=options.s3_endpoint_url,
            region_name=options.s3_region_name,
            aws_access_key_id=options.s3_access_key_id,
            aws_secret_access_key=options.s3_secret_access_key,
            aws_session_token=options.s3_session_token,
            use_ssl=not options.s3_disable_ssl,
            verify=options.s3_verify,
            config=Config(retries={"max_attempts": ATTEMPTS}, connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S),
        )
        client.head_bucket(Bucket=address.netloc)
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 404:
            raise UserError(f"{uri}: the object store has no bucket {address.netloc}; make it, or give another address") from None
        raise UserError(
            f"{uri}: the object store refuses (HTTP status {status}); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and "
            "what they may do"
        ) from None
    except (BotoCoreError, ValueError) as error:
        raise UserError(
            f"{uri}: {' '.join(str(error).split())}; check AWS_ENDPOINT_URL, AWS_DEFAULT_REGION and the credentials"
        ) from None
