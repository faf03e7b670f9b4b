# SPDX-License-Identifier: Apache-2.0
"""What driver, launcher and API server of the small Kubeflow keep, all in the object store: artifacts, and what steps made."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError
from launcher import ObjectStore, Step, StoredArtifact

BUCKET = "mlpipeline"


class S3Store(ObjectStore):
    """Artifacts at `minio://` and `s3://` in the cluster's object store, whose address and credentials boto3 finds itself."""

    def __init__(self) -> None:
        self.client = boto3.client("s3")

    def upload(self, source: Path, uri: str) -> None:
        bucket, _, key = uri.partition("://")[2].partition("/")
        for file in [source] if source.is_file() else sorted(entry for entry in source.rglob("*") if entry.is_file()):
            name = key if file == source else f"{key}/{file.relative_to(source)}"
            self.client.upload_file(str(file), bucket, name)

    def download(self, uri: str, target: Path) -> None:
        bucket, _, key = uri.partition("://")[2].partition("/")
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key)
        for found in [entry["Key"] for page in pages for entry in page.get("Contents", [])]:
            if found == key or found.startswith(f"{key}/"):
                path = target if found == key else target / found.removeprefix(f"{key}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                self.client.download_file(bucket, found, str(path))

    def write_step(self, name: str, step: Step) -> None:
        """Records what a step made: `runs/RUN/TASK`, or `cache/KEY`."""
        body = json.dumps({"outputs": {k: dataclasses.asdict(v) for k, v in step.outputs.items()}, "parameters": step.parameters})
        self.client.put_object(Bucket=BUCKET, Key=f"metadata/{name}", Body=body.encode())

    def read_step(self, name: str) -> Step | None:
        """What was recorded; nothing where there is no record."""
        try:
            body = self.client.get_object(Bucket=BUCKET, Key=f"metadata/{name}")["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise
        read: dict[str, Any] = json.loads(body)
        outputs = {name: StoredArtifact(**artifact) for name, artifact in read["outputs"].items()}
        return Step("succeeded", outputs=outputs, parameters=read["parameters"])
