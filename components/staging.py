# SPDX-License-Identifier: Apache-2.0
"""Artifacts where Beam's workers on other machines reach them: by way of Beam's option `--temp_location`.

A step's artifacts lie on its own disk, on a laptop in the work folder, on Kubeflow where the launcher mirrors them. Only workers
that are processes of this machine, as DirectRunner's are, find them there.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfx.types import Artifact

from beam_jobs.files import copy_file, join
from beam_jobs.filesystems import list_contents
from beam_jobs.paths import is_uri
from beam_jobs.running import shared_folder


@contextmanager
def staged(beam_options: Sequence[Any], inputs: Sequence[Artifact], outputs: Sequence[Artifact]) -> Iterator[str | None]:
    """Lets `inputs` and `outputs` have URIs below the temporary location while the body runs.

    Inputs are copied there before; outputs are copied back after, where the body ends well. Nothing is left there.

    Yields:
        A folder there, for what else workers need; None without a temporary location.
    """
    places = [(artifact, artifact.uri) for artifact in (*inputs, *outputs)]
    with shared_folder(beam_options) as root:
        for artifact in outputs:  # Beam writes by way of folders that a killed attempt leaves
            shutil.rmtree(artifact.uri, ignore_errors=True)
            Path(artifact.uri).mkdir(parents=True)
        if root is None:
            yield None
            return
        try:
            for number, (artifact, uri) in enumerate(places):
                artifact.uri = join(root, str(number))
                if number < len(inputs):
                    copy_folder(uri, artifact.uri)
            yield root
            for artifact, uri in places[len(inputs) :]:
                copy_folder(artifact.uri, uri)
        finally:
            for artifact, uri in places:
                artifact.uri = uri


def copy_folder(source: str, target: str) -> None:
    """Copies the files of a folder, and those of all folders below it, between any of Beam's filesystems."""
    if not is_uri(source) and not is_uri(target):
        shutil.copytree(source, target, dirs_exist_ok=True)
        return
    names = list_contents(source) if is_uri(source) else _files(Path(source))
    for name in names:
        copy_file(join(source, *name.split("/")), join(target, *name.split("/")))


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
