# SPDX-License-Identifier: Apache-2.0
"""Where Kubeflow's launcher keeps an artifact inside a step's container.

Before a step the launcher downloads `minio://bucket/key` to `/minio/bucket/key`, and after it uploads what lies there
(kubeflow/pipelines 2.17.0, backend/src/v2/component/launcher_v2.go, LocalPathForURI). TensorFlow opens neither `minio://` nor
`s3://`. It does open `gs://`: such URIs stay, and what is written there needs no upload.
"""

import os

ROOT_VARIABLE = "CONTAINER_ROOT"
"""A folder that stands for `/` where steps run as plain processes: tests set it, containers do not."""
SCHEMES = ("minio", "s3")


def container_path(path: str) -> str:
    """An absolute path inside the container."""
    return os.environ.get(ROOT_VARIABLE, "").rstrip("/") + path


def local_path(uri: str) -> str:
    """The path at which the launcher mirrors `uri`; other URIs as they are."""
    for scheme in SCHEMES:
        if uri.startswith(f"{scheme}://"):
            return container_path(f"/{scheme}/{uri.removeprefix(f'{scheme}://')}")
    return uri


def remote_uri(path: str) -> str:
    """The URI whose mirror `path` is; other texts as they are."""
    for scheme in SCHEMES:
        mirror = container_path(f"/{scheme}/")
        if path.startswith(mirror):
            return f"{scheme}://{path.removeprefix(mirror)}"
    return path
