# SPDX-License-Identifier: Apache-2.0
"""The Beam job over the logs: statistics by TFDV, a sample of the requests, and sums by day.

What it makes lies in one folder: `statistics.pb`, `sample.tfrecord` and `sums.json`. None is large, however many requests there
were. Where workers are elsewhere, that folder and a copy of the log lie below Beam's option `--temp_location` meanwhile.
"""

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import statistics_pb2

from beam_jobs.examples import RecordError, frame_record
from beam_jobs.files import copy_file, join, open_file, read_text, write_atomically
from beam_jobs.running import make_pipeline, shared_folder
from components.watch.clocks import MAX_AHEAD_S
from components.watch.measures import values_of
from components.watch.records import CANARY, FILE_NAME, Record, decode, encode, hour_of, read_file

SAMPLE = 1000
"""Requests that the two-sample tests and the page are made from, drawn by their hash."""
STATISTICS_FILE, SAMPLE_FILE, SUMS_FILE = "statistics.pb", "sample.tfrecord", "sums.json"


@dataclass(frozen=True)
class Window:
    """Requests of one model, under each version that it had, from `since_s` until `until_s`, seconds since 1970."""

    versions: frozenset[int]
    since_s: float
    until_s: float


@dataclass(frozen=True)
class Heard:
    """What the job found.

    Attributes:
        statistics: of the requests with speech; None where there are none.
        sample: of them, at most `SAMPLE`.
        sums: by name: counts of records and what is wrong with the log.
        days: sums by date, as `sums`.
        canaries: answers to the canary.
    """

    statistics: statistics_pb2.DatasetFeatureStatisticsList | None
    sample: list[Record]
    sums: Mapping[str, float]
    days: Mapping[str, Mapping[str, float]]
    canaries: list[Record]


def log_files(folder: Path, window: Window) -> list[str]:
    """The files of a log that may hold records of a window, or of its future, which is told. A file's name is their hour.

    Raises:
        OSError: the folder cannot be read.
    """
    first = hour_of(max(0.0, window.since_s))
    names = sorted(path.name for path in folder.iterdir())
    return [str(folder / name) for name in names if (hour := FILE_NAME.fullmatch(name)) and first <= hour[1]]


def hear(files: Sequence[str], window: Window, folder: str, beam_options: Sequence[str]) -> Heard:
    """Runs the job.

    Args:
        files: of the log.
        window: what of them is looked at.
        folder: where the results go, on this machine.
        beam_options: Beam's.

    Raises:
        UserError: Beam refuses its options, or workers are elsewhere and they name no `--temp_location`.
    """
    with shared_folder(beam_options) as shared:
        if shared:
            files = [_copied(path, shared) for path in files]
        return _hear(files, window, shared or folder, beam_options)


def _copied(path: str, folder: str) -> str:
    copied = join(folder, "log", Path(path).name)
    try:
        copy_file(path, copied)
    except (FileNotFoundError, PermissionError):  # too old since it was listed, or not ours: a worker will not find it either
        return path
    return copied


def _hear(files: Sequence[str], window: Window, folder: str, beam_options: Sequence[str]) -> Heard:
    statistics, sample, sums = (join(folder, name) for name in (STATISTICS_FILE, SAMPLE_FILE, SUMS_FILE))
    with make_pipeline(beam_options) as pipeline:
        records, counted = (
            pipeline
            | "Files" >> beam.Create(files, reshuffle=False)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(ReadLog(window)).with_outputs("counted", main="records")
        )
        _ = (
            records
            | "Batch" >> beam.BatchElements(min_batch_size=1, max_batch_size=1000)
            | "Table" >> beam.Map(to_table)
            | "Statistics" >> tfdv.GenerateStatistics(tfdv.StatsOptions(num_histogram_buckets=20))
            | "Write statistics" >> beam.Map(lambda found: write_atomically(statistics, found.SerializeToString()))
        )
        _ = (
            records
            | "Sample" >> beam.CombineGlobally(SmallestHashes(SAMPLE))
            | "Write sample" >> beam.Map(lambda found: write_atomically(sample, framed(found)))
        )
        _ = (
            counted
            | "Add up" >> beam.CombinePerKey(sum)
            | "All" >> beam.combiners.ToList()
            | "Write sums" >> beam.Map(lambda found: write_atomically(sums, json.dumps(sorted(found)).encode()))
        )
    return _read(statistics, sample, sums)


def _read(statistics: str, sample: str, sums: str) -> Heard:
    total: dict[str, float] = {}
    days: dict[str, dict[str, float]] = {}
    canaries = []
    for (day, name), value in json.loads(read_text(sums)):
        if name.startswith(CANARY + " "):
            canaries.append(decode(bytes.fromhex(name.removeprefix(CANARY + " "))))
        elif day:
            days.setdefault(day, {})[name] = value
        total[name] = total.get(name, 0) + value
    records = [record for record in read_file(sample) if isinstance(record, Record)]
    found = None
    if records:
        with open_file(statistics) as file:
            found = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read())
    return Heard(found, sorted(records, key=lambda record: record.time_s), total, days, canaries)


class ReadLog(beam.DoFn):
    """Reads one file; gives the window's requests with speech, and sums: ((day, name), number).

    A name with an empty day is of the log and not of a day.
    """

    def __init__(self, window: Window) -> None:
        self._window = window

    def process(self, path: str) -> Iterator[Any]:
        """Reads it as far as it is whole."""
        canaries: set[bytes] = set()
        try:
            for item in read_file(path):
                if isinstance(item, RecordError):
                    yield _sum("", "torn")
                    continue
                problem = self._problem(item)
                if problem:
                    yield _sum("", problem)
                elif item.path == CANARY:
                    canaries.add(encode(item))
                else:
                    yield from _sums_of(item)
                    if item.measured:
                        yield item
        except OSError:
            yield _sum("", "unreadable")
        for content in sorted(canaries)[:MAX_CANARIES]:
            yield _sum("", f"{CANARY} {content.hex()}")

    def _problem(self, record: Record) -> str:
        if record.time_s > self._window.until_s + MAX_AHEAD_S:
            return "of the future"
        if not self._window.since_s <= record.time_s:
            return "older"
        return "" if record.version in self._window.versions else f"of version {record.version}"


MAX_CANARIES = 20
"""Of a file, which is of an hour."""


def _sum(day: str, name: str, value: float = 1) -> Any:
    return beam.pvalue.TaggedOutput("counted", ((day, name), value))


def _sums_of(record: Record) -> Iterator[Any]:
    day = hour_of(record.time_s)[:10]
    yield _sum(day, "requests")
    if record.error:
        yield _sum(day, "errors")
    elif not record.measured:
        yield _sum(day, "no speech")
    else:
        yield _sum(day, "with speech")
        for name, value in values_of(record).items():
            if isinstance(value, float):
                yield _sum(day, f"sum of {name}", value)
            else:
                yield _sum(day, f"label {value}")
        confidence = values_of(record)["confidence"]
        assert isinstance(confidence, float)
        yield _sum(day, "variance", confidence * (1 - confidence))


def to_table(records: Iterable[Record]) -> pa.RecordBatch:
    """Measures of requests as TFDV takes them: a column a measure, a list of one value a row."""
    rows = [values_of(record) for record in records]
    return pa.RecordBatch.from_pydict({name: [[row[name]] for row in rows] for name in rows[0]})


def framed(contents: Iterable[bytes]) -> bytes:
    """As a TFRecord file."""
    return b"".join(part for content in contents for part in frame_record(content))


class SmallestHashes(beam.CombineFn):
    """So many records as bytes: those whose SHA-256 is the smallest, which is a random choice and each time the same."""

    def __init__(self, number: int) -> None:
        self._number = number

    def create_accumulator(self) -> list[tuple[int, bytes]]:
        """Empty."""
        return []

    def add_input(self, accumulator: list[tuple[int, bytes]], element: Record) -> list[tuple[int, bytes]]:
        """A heap whose first has the greatest hash."""
        content = encode(element)
        item = (-int.from_bytes(hashlib.sha256(content).digest()[:8]), content)
        if len(accumulator) < self._number:
            heapq.heappush(accumulator, item)
        else:
            heapq.heappushpop(accumulator, item)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[list[tuple[int, bytes]]]) -> list[tuple[int, bytes]]:
        """The smallest of all."""
        found = heapq.nlargest(self._number, (item for accumulator in accumulators for item in accumulator))
        heapq.heapify(found)
        return found

    def extract_output(self, accumulator: list[tuple[int, bytes]]) -> list[bytes]:
        """Their bytes."""
        return [content for _, content in sorted(accumulator)]
