# SPDX-License-Identifier: Apache-2.0
"""A real S3 server on 127.0.0.1: versitygw (Apache-2.0), built through the Go module proxy, with a folder as its store.

with S3Server(folder) as server:
    generate_clips(clips, index, "s3://clips/demo", server.beam_options)
"""

import os
import subprocess
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from processes import CACHE, Processes, free_port

MODULE = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
REGION = "us-east-1"
# Of a server that lives for one test on the loopback interface.
ACCESS_KEY, SECRET_KEY = "test", "test-secret"
BUCKET = "clips"


def build_server() -> Path:
    """The server's program, built into the cache if it is not there."""
    folder = CACHE / "flink" / MODULE.rsplit("/", 1)[1]
    program = folder / "versitygw"
    if not program.exists():
        print(f"building {MODULE} into {folder} (some minutes)")
        subprocess.run(
            ["go", "install", "-ldflags=-s -w", MODULE], env={**os.environ, "GOBIN": str(folder)}, check=True, timeout=1800
        )
    return program


class S3Server:
    """A running server with one empty bucket, as a context manager. Objects and the log lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = build_server()
        self._port = free_port()
        self._processes = Processes(folder)

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def beam_options(self) -> list[str]:
        """What Beam's filesystems need to use this server."""
        return [
            f"--s3_endpoint_url={self.url}",
            f"--s3_region_name={REGION}",
            f"--s3_access_key_id={ACCESS_KEY}",
            f"--s3_secret_access_key={SECRET_KEY}",
        ]

    def client(self) -> Any:
        """A boto3 client of this server."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def upload(self, folder: Path, prefix: str) -> str:
        """Copies a folder into the bucket. Returns its address."""
        client = self.client()
        for path in sorted(folder.rglob("*.*")):
            client.upload_file(str(path), BUCKET, f"{prefix}/{path.relative_to(folder).as_posix()}")
        return f"s3://{BUCKET}/{prefix}"

    def __enter__(self) -> Self:
        objects, metadata = self._folder / "objects", self._folder / "metadata"
        for folder in (objects, metadata):
            folder.mkdir(parents=True)
        options = ["--port", f"127.0.0.1:{self._port}", "--region", REGION, "--health", "/health"]
        self._processes.start(
            "s3server",
            [self._program, *options, "posix", "--sidecar", metadata, objects],
            {"ROOT_ACCESS_KEY_ID": ACCESS_KEY, "ROOT_SECRET_ACCESS_KEY": SECRET_KEY},
        )
        try:
            self._processes.wait_until(self._is_healthy, "S3 server")
            self.client().create_bucket(Bucket=BUCKET)
        except BaseException:
            self._processes.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._processes.stop()

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return True
        except OSError:
            return False
