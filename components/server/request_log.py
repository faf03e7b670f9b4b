# SPDX-License-Identifier: Apache-2.0
"""A sample of the requests, kept as `components.watch.records` has them: an hour's files at a time, bounded, and out of the way.

A record is written by one `write` into a file that only this process appends to. So a server that is killed leaves at most its
last record torn, and the next one begins a file of its own. What goes wrong here costs a record, never an answer.
"""

import dataclasses
import io
import logging
import os
import queue
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import soundfile

from beam_jobs.errors import UserError
from beam_jobs.examples import frame_record
from components.server.config import LogConfig
from components.server.deadline import deadline
from components.server.metrics import Metrics
from components.server.versions import ServedVersion
from components.watch.clocks import MAX_AHEAD_S
from components.watch.measured import SIGNATURE, measured_answers
from components.watch.records import FILE_NAME, Record, encode, hour_of
from components.watch.skew import canary_record

log = logging.getLogger(__name__)

ANSWERED_BY = {"wav": SIGNATURE, "timeline": "timeline"}
"""Signatures whose requests are kept, and the one that gives the same answer with measures."""
MAX_QUEUED = 512
GATHER_S = 0.5
"""For which records are gathered before they are written: what a server that is killed loses."""
TIDY_S, CANARY_S = 60.0, 600.0
"""How often old files are looked for, and how often the canary is asked."""
CANARY_TIMEOUT_S = 60.0
FILES_OF_ALL = 16
"""A file is at most this part of all: what is removed at a time is not most of what there is."""
AUDIO_S = 30
MEBIBYTE = 1024 * 1024


class RequestLog:
    """What is kept of requests, and the thread that writes it."""

    def __init__(self, config: LogConfig, metrics: Metrics) -> None:
        """Makes the folder.

        Raises:
            UserError: it cannot be written.
        """
        self.config, self.metrics = config, metrics
        try:
            # Measures of voices are personal data: the operator's alone.
            config.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = config.folder / f".{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(f"{config.folder}: cannot be written ({error.strerror}); give another folder to --log") from None
        self._queue: queue.Queue[tuple[ServedVersion, float, str, Mapping[str, Any], list[bytes]] | None] = queue.Queue(
            MAX_QUEUED
        )
        self._closing = threading.Event()
        self._file: int | None = None
        self._hour, self._bytes = "", 0
        self._tidied, self._said = 0.0, 0.0
        self._asked: dict[int, float] = {}
        """When each version was asked about its canary. During a trial, two versions answer by turns."""
        self._thread = threading.Thread(target=self._write_all, name="write the request log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Writes what is queued, for a few seconds at most, and ends."""
        self._closing.set()
        try:
            self._queue.put(None, timeout=2)
        except queue.Full:
            return
        self._thread.join(timeout=5)

    def watching(self, served: ServedVersion, path: str) -> ServedVersion:
        """The version, for one request: where it is in the sample, what it answers is kept.

        The answer itself comes with the measures then: the recording is heard once. A version without the signature `measured`
        is older than the log, and nothing is kept of its requests.
        """
        if SIGNATURE not in served.signatures or random.random() >= self.config.share:  # noqa: S311
            return served
        return served.asking({name: self._keeping(served, path, name, by) for name, by in ANSWERED_BY.items()})

    def _keeping(self, served: ServedVersion, path: str, name: str, by: str) -> Callable[..., Mapping[str, Any]]:
        outputs, function = tuple(served.signatures[name].outputs), served.signatures[by].function

        def ask(wav: Any) -> Mapping[str, Any]:
            found = function(wav=wav)
            self._put(served, path, found, wav)
            return {output: found[output] for output in outputs}

        return ask

    def _put(self, served: ServedVersion, path: str, found: Mapping[str, Any], wav: Any) -> None:
        audio = wav.numpy().tolist() if "audio" in self.config.fields else []
        try:
            self._queue.put_nowait((served, time.time(), path, found, audio))
        except queue.Full:
            self.metrics.log_records.labels("dropped").inc()

    def _write_all(self) -> None:
        while True:
            try:
                items = [self._queue.get(timeout=TIDY_S)]
            except queue.Empty:
                self._tidy()
                continue
            # Many at a time: one by one, each between two inferences, they take six times as long.
            self._closing.wait(GATHER_S)
            with suppress(queue.Empty):
                while True:
                    items.append(self._queue.get_nowait())
            for item in items:
                if item is None:
                    return
                try:
                    self._keep(*item)
                except Exception as error:
                    self._failed(error)
            del item, items  # they hold versions in memory
            if time.monotonic() - self._tidied > TIDY_S:
                self._tidy()

    def _keep(self, served: ServedVersion, time_s: float, path: str, found: Mapping[str, Any], audio: list[bytes]) -> None:
        for row, answer in enumerate(measured_answers(found)):
            kept = _flac(audio[row]) if audio else b""
            self._write(Record(time_s=time_s, version=served.version, path=path, audio=kept, **answer))
        # As often as there are requests to say something about.
        if time.monotonic() - self._asked.get(served.version, -CANARY_S) >= CANARY_S:
            self._asked[served.version] = time.monotonic()
            self._ask_canary(served, time_s)

    def _ask_canary(self, served: ServedVersion, time_s: float) -> None:
        with deadline(CANARY_TIMEOUT_S):
            found = canary_record(served.model.folder, served.signatures[SIGNATURE].function)
        if found is not None:
            record, skew = found
            self.metrics.skew.set(skew)
            self._write(dataclasses.replace(record, time_s=time_s, version=served.version))

    def _write(self, record: Record) -> None:
        content = b"".join(frame_record(encode(record.kept(self.config.fields))))
        hour = hour_of(record.time_s)
        if hour != self._hour or self._bytes + len(content) > self._max_bytes // FILES_OF_ALL:
            self._begin_file(hour)
        assert self._file is not None
        try:
            written = os.write(self._file, content)
        except OSError:
            self._begin_file("")
            raise
        if written < len(content):  # the disk is full: the reader would stop at a torn record
            os.ftruncate(self._file, self._bytes)
            raise OSError(28, "No space left on device")
        self._bytes += written
        self.metrics.log_records.labels("kept").inc()

    def _begin_file(self, hour: str) -> None:
        """A new file for `hour`; an empty one closes the present file and begins none."""
        if self._file is not None:
            os.close(self._file)
        self._file, self._hour, self._bytes = None, hour, 0
        if hour:
            self.config.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self.config.folder / f"{hour}Z-{uuid.uuid4().hex[:12]}.tfrecord"
            try:
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            except OSError:
                self._hour = ""
                raise
            self._tidy()

    @property
    def _max_bytes(self) -> int:
        return self.config.max_mb * MEBIBYTE

    def _tidy(self) -> None:
        """Removes files older than is kept, and the oldest where all are too large. Their names say how old they are."""
        self._tidied = time.monotonic()
        now_s = time.time()
        oldest, latest = hour_of(max(0.0, now_s - self.config.days * 86_400)), hour_of(now_s + MAX_AHEAD_S)
        try:
            # What is from the future, by a wrong clock, goes first where room is needed: else it would outlast all that comes.
            files = sorted(
                (path for path in self.config.folder.iterdir() if FILE_NAME.fullmatch(path.name)),
                key=lambda path: (path.name[:13] <= latest, path.name),
            )
            sizes = {path: path.stat().st_size for path in files}
            total = sum(sizes.values())
            for path, size in sizes.items():
                # Room for one more file of this process.
                if path.name[:13] >= oldest and total <= self._max_bytes * (FILES_OF_ALL - 1) // FILES_OF_ALL:
                    continue
                path.unlink(missing_ok=True)
                total -= size
            self.metrics.log_bytes.set(total)
        except OSError as error:  # another server of the folder tidies too
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.metrics.log_records.labels("failed").inc()
        if not self._said or time.monotonic() - self._said > TIDY_S:
            self._said = time.monotonic()
            log.error("the request log: %s", " ".join(str(error).split())[:300] or type(error).__name__)


def _flac(wav: bytes) -> bytes:
    """The beginning of a WAV file at a third of its size; nothing of one that soundfile cannot read."""
    try:
        with soundfile.SoundFile(io.BytesIO(wav)) as file:
            samples, rate_hz = file.read(AUDIO_S * file.samplerate, dtype="float32", always_2d=True), file.samplerate
        out = io.BytesIO()
        soundfile.write(out, samples.mean(axis=1), rate_hz, format="FLAC", subtype="PCM_16")
        return out.getvalue()
    except (soundfile.LibsndfileError, ValueError):
        return b""
