# SPDX-License-Identifier: Apache-2.0
"""A new version on trial: it answers a share of the requests until there are enough to promote it or roll it back.

Each request that it answers is put to the present version too, in the background, and the two are compared. A failure of the new
one costs no client an answer: the present one gives it.
"""

import dataclasses
import datetime
import hashlib
import logging
import queue
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from components.pusher.trials import Decision
from components.server.config import CanaryConfig
from components.server.versions import ServedVersion

log = logging.getLogger(__name__)

MAX_QUEUED = 64
FAILURES = 3
"""Of the new version, at which nobody waits for more requests."""
LEAST_TIMES = 20
"""Of either version, below which latencies are not compared."""


class Trial:
    """A version on trial against the present one. `decide` is called once, from a thread of the trial, with what was decided."""

    def __init__(
        self, candidate: ServedVersion, current: ServedVersion, config: CanaryConfig, decide: Callable[[Decision], None]
    ) -> None:
        self.candidate, self.current, self.config, self._decide = candidate, current, config, decide
        self._queue: queue.Queue[tuple[str, dict[str, Any], Mapping[str, Any]] | None] = queue.Queue(MAX_QUEUED)
        self._lock = threading.Lock()
        self._rows = self._agreed = self._failures = 0
        self._labels: dict[bool, Counter[bytes]] = {False: Counter(), True: Counter()}
        self._seconds: dict[bool, list[float]] = {False: [], True: []}
        self._reason = ""
        self.ended = False
        self._thread = threading.Thread(target=self._compare_all, name="compare the canary", daemon=True)
        self._thread.start()

    def chosen(self, body: bytes) -> bool:
        """Whether the new version answers a request: the same one each time."""
        return int.from_bytes(hashlib.sha256(body).digest()[:8]) < self.config.share * 2**64

    def watching(self, served: ServedVersion) -> ServedVersion:
        """The version for a request whose answer is compared, or only timed. `served` is one of the two, or a copy of it."""
        is_candidate = served.version == self.candidate.version
        signatures = {
            name: dataclasses.replace(signature, function=self._timed(name, signature.function, is_candidate))
            for name, signature in served.signatures.items()
        }
        model = served.model
        if "timeline" in signatures:
            model = model.asking("timeline", signatures["timeline"].function)
        return dataclasses.replace(served, model=model, signatures=signatures)

    def end(self) -> None:
        """Without a decision."""
        self.ended = True
        self._put(None)

    def _timed(self, name: str, function: Callable[..., Any], is_candidate: bool) -> Callable[..., Any]:
        def ask(**inputs: Any) -> Any:
            started = time.perf_counter()
            try:
                found = function(**inputs)
                if is_candidate and not np.isfinite(found["probabilities"].numpy()).all():
                    raise ValueError("answers with NaN or infinity")
            except Exception as error:
                if not is_candidate:
                    raise
                self._fail(error)
                return self.current.signatures[name].function(**inputs)
            with self._lock:
                self._seconds[is_candidate].append(time.perf_counter() - started)
            if is_candidate:
                self._put((name, inputs, found))
            return found

        return ask

    def _put(self, item: tuple[str, dict[str, Any], Mapping[str, Any]] | None) -> None:
        try:
            self._queue.put_nowait(item)
        except queue.Full:  # what cannot be compared in time does not count
            if item is None:
                self._queue.get_nowait()
                self._queue.put_nowait(None)

    def _fail(self, error: Exception) -> None:
        with self._lock:
            self._failures += 1
            self._reason = " ".join(str(error).split())[:200] or type(error).__name__
            if self._failures < FAILURES:
                return
        self._put(None)

    def _compare_all(self) -> None:
        while (item := self._queue.get()) is not None and not self.ended:
            try:
                self._compare(*item)
            except Exception:  # of the present version: it says nothing about the new one
                log.exception("a request could not be compared")
            if self._rows >= self.config.requests or self._failures >= FAILURES:
                break
        if not self.ended:
            self.ended = True
            self._decide(self._decided())

    def _compare(self, name: str, inputs: dict[str, Any], found: Mapping[str, Any]) -> None:
        if "label" not in found:  # of `combine` in older versions
            return
        there = self.current.signatures[name].function(**inputs)
        labels, others = found["label"].numpy(), there["label"].numpy()
        with self._lock:
            self._rows += len(labels)
            self._agreed += int((labels == others).sum())
            self._labels[True].update(labels.tolist())
            self._labels[False].update(others.tolist())

    def _decided(self) -> Decision:
        problem = self._problem()
        return Decision(
            version=self.candidate.version,
            outcome="rolled back" if problem else "promoted",
            why=problem or f"agrees with version {self.current.version} on {self._agreed} of {self._rows} requests",
            when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            against=self.current.version,
            requests=self._rows,
        )

    def _problem(self) -> str:
        """Why the version is not to answer; empty where it is."""
        config, rows = self.config, max(1, self._rows)
        if self._failures >= FAILURES:
            return f"{self._failures} requests failed ({self._reason})"
        if self._agreed < config.min_agreement * rows:
            return f"agrees with version {self.current.version} on {self._agreed} of {rows} requests"
        shares = [self._labels[True][label] / rows - self._labels[False][label] / rows for label in self._labels[True]]
        if shares and max(map(abs, shares)) > config.max_label_shift:
            return f"the share of a label moves by {max(map(abs, shares)):.0%}"
        if min(map(len, self._seconds.values())) >= LEAST_TIMES:
            slow, usual = (statistics.median(self._seconds[which]) for which in (True, False))
            if slow > config.max_slowdown * usual:
                return f"answers in {1000 * slow:.0f} ms, and version {self.current.version} in {1000 * usual:.0f} ms"
        return ""
