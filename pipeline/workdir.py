# SPDX-License-Identifier: Apache-2.0
"""The work folder: where everything that a run makes lies, and who may write there."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ml_metadata.proto import metadata_store_pb2

from beam_jobs.command_line import command
from beam_jobs.errors import UserError
from beam_jobs.locks import is_locked, lock
from beam_jobs.paths import is_uri
from components.pusher.serving_folder import versions

LOCK_FILE = ".lock"


@dataclass(frozen=True, slots=True)
class WorkDir:
    """The folders under a work folder.

    What is stored in it names its files relative to it, so that it can be moved, copied and renamed.
    """

    root: Path

    @classmethod
    def at(cls, path: Path) -> Self:
        """The work folder at a path as people give it: relative, with `..`, through links."""
        return cls(Path(os.path.realpath(path)))

    def path(self, stored: str) -> Path:
        """Where a file of this folder is now that was stored relative to it; an absolute path stays as it is."""
        return self.root / stored

    def place(self, stored: str) -> str:
        """The same as text, for what may lie on an object store."""
        return stored if is_uri(stored) else str(self.path(stored))

    def relative(self, path: str | Path) -> str:
        """How the path of a file is stored: relative to this folder where it lies in it, else as it is."""
        return str(Path(path).relative_to(self.root)) if Path(path).is_relative_to(self.root) else str(path)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Makes this the current folder, so that TFX records where its artifacts are relative to it."""
        with contextlib.chdir(self.root):
            yield

    @property
    def corpus(self) -> Path:
        """The corpus, where it was synthesised."""
        return self.root / "corpus"

    @property
    def index(self) -> Path:
        """The speaker index of the last run."""
        return self.root / "speaker_index.json"

    @property
    def clips(self) -> Path:
        """Dataset folders, one for each (clip settings, corpus)."""
        return self.root / "clips"

    @property
    def tfx(self) -> Path:
        """TFX's pipeline root: the artifacts."""
        return self.root / "tfx"

    @property
    def metadata(self) -> Path:
        """MLMD's SQLite file."""
        return self.root / "metadata.db"

    @property
    def serving(self) -> Path:
        """What a model server polls: one folder a version."""
        return self.root / "serving"

    @property
    def reports(self) -> Path:
        """One folder a run: resolved configuration and result."""
        return self.root / "reports"

    @property
    def logs(self) -> Path:
        """One file a run: what the libraries said."""
        return self.root / "logs"

    def connection(self) -> metadata_store_pb2.ConnectionConfig:
        """How to open the MLMD store."""
        sqlite = metadata_store_pb2.SqliteMetadataSourceConfig(
            filename_uri=str(self.metadata), connection_mode=metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        )
        return metadata_store_pb2.ConnectionConfig(sqlite=sqlite)

    def at_work(self) -> bool:
        """Whether a run is at work here."""
        return is_locked(self.root / LOCK_FILE)

    def command(self, *arguments: str) -> str:
        """The command line of `audio-gender` with these arguments in this work folder, to be printed."""
        return command(*arguments, "--workdir", self.root)

    def serving_version(self) -> str | None:
        """The newest version in the serving folder, None where there is none."""
        found = versions(self.serving)
        return str(found[-1]) if found else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes this process the only one that runs here.

        Raises:
            UserError: another run is at work, or the folder cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            held = lock(self.root / LOCK_FILE, wait=False)
        except BlockingIOError:
            raise UserError(f"{self.root}: another run is using this folder; wait for it, or give another --workdir") from None
        except OSError as error:
            raise UserError(f"{self.root}: cannot be written ({error.strerror}); give another --workdir") from None
        with held:
            yield
