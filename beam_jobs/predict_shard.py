# SPDX-License-Identifier: Apache-2.0
"""Predicting one shard of recordings: a worker's whole job."""

import json
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler

from beam_jobs.errors import UserError
from beam_jobs.files import cause, open_file, storage_errors, write_atomically
from beam_jobs.filesystems import FileSystems
from beam_jobs.paths import is_uri
from beam_jobs.spreadsheet import csv_rows
from beam_jobs.writers import StoppedError, writing

UNFINISHED = "_unfinished"
"""Folder inside the output that holds the plan, and shards that are being written, until all are there."""

Ask = Callable[[str, str], Mapping[str, Any]]
"""A local file, and the name that it goes by -> its row. What is wrong with the recording is in the row."""


@dataclass(frozen=True, slots=True)
class RecordingShard:
    """One element of the job: some recordings, and the file that their rows go to."""

    output: str
    name: str
    recordings: tuple[str, ...]

    @property
    def target(self) -> str:
        """The finished file's path; its ending says its format, `.csv` or `.jsonl`."""
        return FileSystems.join(self.output, self.name)


def predict_shard(shard: RecordingShard, ask: Ask) -> str:
    """Writes a shard's rows, one a recording, in order; one that is already there is left as it is. Returns its file name.

    Raises:
        UserError: it cannot be written.
        Exception: whatever the object store raises, where a recording is there and cannot be fetched now: another try may.
    """
    if FileSystems.exists(shard.target):
        Metrics.counter("predict", "shards_reused").inc()
        return shard.name
    rows = [_row(recording, ask) for recording in shard.recordings]
    try:
        # Nobody waits for a stopped job's shard; of an error Beam would print a traceback.
        with suppress(StoppedError), writing():
            write_atomically(shard.target, encode(rows, shard.name), FileSystems.join(shard.output, UNFINISHED))
    except storage_errors() as error:
        raise UserError(f"{shard.output}: cannot be written ({cause(error)}); free some space or choose another folder") from None
    Metrics.counter("predict", "recordings").inc(len(rows))
    Metrics.counter("predict", "errors").inc(sum(bool(row["error"]) for row in rows))
    return shard.name


def _row(recording: str, ask: Ask) -> Mapping[str, Any]:
    if not is_uri(recording):
        return ask(recording, recording)
    # By way of this machine's disk: a recording of hours is decoded from there in flat memory, and a connection that is lost
    # while it is fetched never looks like a damaged file.
    with tempfile.NamedTemporaryFile(suffix=PurePosixPath(recording).suffix) as local:
        try:
            with open_file(recording) as source:
                shutil.copyfileobj(source, local, 1 << 20)
        except Exception:
            if FileSystems.exists(recording):
                raise
            return ask(f"{local.name}.gone", recording)  # as any file that is not there
        local.flush()
        return ask(local.name, recording)


def encode(rows: Sequence[Mapping[str, Any]], name: str) -> bytes:
    """Rows as the file of this name holds them: CSV with a header, or a JSON object a line."""
    if name.endswith(".csv"):
        return csv_rows(list(rows[0]), rows, header=True)
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


class ShardHandler(ModelHandler[RecordingShard, str, Any]):
    """A model in Beam's RunInference, which loads it once in each worker process. What knows models makes one of this."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What decides the answers, for JSON; where the model lies does not."""

    @abstractmethod
    def row(self, model: Any, file: str, name: str) -> Mapping[str, Any]:
        """The row of a recording: `file` is where it lies on this machine, `name` what it is called."""

    def run_inference(
        self, batch: Sequence[RecordingShard], model: Any, inference_args: dict[str, Any] | None = None
    ) -> Iterable[str]:
        """Writes the rows of each shard; gives the names of their files."""
        return [predict_shard(shard, partial(self.row, model)) for shard in batch]

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """One shard at a time: it is a bundle's worth of work as it is."""
        return {"min_batch_size": 1, "max_batch_size": 1}
