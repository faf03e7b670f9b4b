# SPDX-License-Identifier: Apache-2.0
"""A new version beside another one: which of them answers a request, what both are asked, and when that is enough.

Some requests are put to both versions in the background, one after the other; their answers and latencies are compared.
A failure of the new version costs no client an answer: the other one gives it.
"""

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import tensorflow as tf

from components.server.deadline import deadline
from components.server.errors import RequestError
from components.server.limits import Limits
from components.server.metrics import Metrics
from components.server.parts import COMBINE
from components.server.tally import Tally, Verdict
from components.server.versions import ServedVersion

log = logging.getLogger(__name__)

T = TypeVar("T")
Answers = Literal["share", "nobody", "everybody"]
"""Whom the new version answers."""
MAX_QUEUED = 64
MAX_QUEUED_BYTES = 64 * 1024 * 1024
QUIET_S = 0.02
"""How long no request must have been answered, or for as long as a comparison takes, before two versions are compared."""
BUSY_COST = 0.1
"""Of the time for which workers answer requests: how much comparisons may take on top while they do."""
HANGS_S = 10.0
"""After which the other version answers in place of the new one, at first; sooner where a request must be answered sooner."""
HANGS_TIMES = 3
"""How many times as long as the other version: what takes less is a long recording and no fault of the new version."""
MORE_TIME = 2
"""By which the time for the new version grows, at least, when it was too short: so that happens a few times and no more."""


class FailedOver(Exception):  # noqa: N818 (no error of the request)
    """The new version did not answer. `other` is asked in its place, for the whole request."""

    def __init__(self, other: ServedVersion) -> None:
        super().__init__(f"version {other.version} is asked in its place")
        self.other = other


def ask_one(ask: Callable[[ServedVersion], T], served: ServedVersion, named: bool = False) -> T:
    """What `ask` makes of one version: of `served`, or of the other one where `served` is on trial and did not answer.

    Raises:
        RequestError: `served` did not answer, and was `named`.
    """
    try:
        return ask(served)
    except FailedOver as error:
        found, other = ask(error.other), error.other.version
    if named:
        raise RequestError(f"version {served.version} failed; version {other} answers this if no version is named", 500)
    return found


class Trial:
    """A new version beside another one.

    `decide` is called once, from a thread of the trial, with what `judge` made of the tally.
    """

    def __init__(
        self,
        new: ServedVersion,
        other: ServedVersion,
        *,
        share: float,
        answers: Answers,
        judge: Callable[[Tally], Verdict | None],
        decide: Callable[["Trial", Verdict], None],
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        """Begins it.

        Args:
            new: the new version.
            other: the other one.
            share: of the requests, which are put to both.
            answers: whom the new version answers; a `share` is the same requests that are put to both.
            judge: what is decided so far; None for nothing yet.
            decide: hears of it.
            limits: the server's, which know how busy it is.
            metrics: the server's.
        """
        self.new, self.other, self.share, self.answers = new, other, share, answers
        self.tally = Tally()
        self._judge, self._decide, self._limits, self._metrics = judge, decide, limits, metrics
        self.hangs_s = min(HANGS_S, limits.config.timeout_s / 2)
        """After which the other version answers in place of the new one; longer once requests are known to take long."""
        self._last_s = 0.0
        self.began_s, self.busy_s = limits.worked_s(), 0.0
        """What workers had answered for by its beginning, and for how long comparisons have competed with them since."""
        self._queue: queue.Queue[tuple[str, dict[str, Any], int] | None] = queue.Queue(MAX_QUEUED)
        self._bytes = 0
        self._lock = threading.Lock()
        self._ended = self._awake = self._failing = False
        self._thread = threading.Thread(target=self._compare_all, name="compare versions", daemon=True)
        self._thread.start()

    @property
    def present(self) -> ServedVersion:
        """The version that answers where nothing else is said."""
        return self.new if self.answers == "everybody" else self.other

    @property
    def more_s(self) -> float:
        """What a request may take beyond its time: for as long the new version may have kept it, or the worker it waits for."""
        return 0.0 if self.answers == "nobody" else self.hangs_s

    def chosen(self, body: bytes, signature: str | None) -> ServedVersion:
        """The version that answers a request: the same one each time."""
        to_new = self.answers == "share" and self._drawn(body) and (signature is None or signature in self.new.signatures)
        return self.new if to_new else self.present

    def watching(self, served: ServedVersion, body: bytes) -> ServedVersion:
        """A version for one request. `served` is one of the two, or a copy of it."""
        is_new = served.version == self.new.version
        put = self._drawn(body) and (is_new or self.answers == "nobody")
        if not (is_new or put):
            return served
        functions = {
            name: partial(self._ask_new if is_new else self._ask_present, name, signature.function, put)
            for name, signature in served.signatures.items()
            if "probabilities" in signature.outputs and name != COMBINE  # parts that a version heard are no recording
        }
        # What the analysis of a recording asks besides is no request of its own, but it may fail as one.
        aside = {
            name: partial(self._ask_or_fail_over, name, function)
            for name, function in served.model.signatures.items()
            if is_new and name in ("wav", COMBINE)
        }
        return served.asking(functions, aside)

    def end(self) -> None:
        """Without a decision."""
        self._ended = True
        self._wake()

    def _drawn(self, body: bytes) -> bool:
        return int.from_bytes(hashlib.sha256(body).digest()[:8]) < self.share * 2**64

    def _ask_present(self, name: str, function: Callable[..., Any], put: bool, /, **inputs: Any) -> Any:
        found = function(**inputs)
        if put:
            self._put(name, inputs)
        return found

    def _ask_new(self, name: str, function: Callable[..., Any], put: bool, /, **inputs: Any) -> Any:
        found = self._ask_or_fail_over(name, function, **inputs)
        if put:
            self._put(name, inputs)
        self._count(True)
        return found

    def _ask_or_fail_over(self, name: str, function: Callable[..., Any], /, **inputs: Any) -> Any:
        """Asks the new version; a failure is counted once the other one has answered."""
        hangs_s = self.hangs_s
        if self._failing and name in self.other.signatures:  # as is known: who waited meanwhile need not see
            raise FailedOver(self.other)
        try:
            with deadline(hangs_s):
                return _finite(function(**inputs))
        except Exception as error:
            if name not in self.other.signatures:
                raise
            raise FailedOver(self._other_after(error, name, hangs_s)) from error

    def _other_after(self, error: Exception, name: str, hangs_s: float) -> ServedVersion:
        """The other version, whose first answer tells whether the request or the new version was at fault."""
        function, counted = self.other.signatures[name].function, False

        def ask(**inputs: Any) -> Any:
            nonlocal counted
            started = time.perf_counter()
            found = function(**inputs)  # where it cannot answer either, that is its error
            if not counted:
                counted = True
                self._metrics.failed_over.inc()
                self._count(self._failed(error, hangs_s, time.perf_counter() - started))
            return found

        return self.other.asking({name: ask}, aside={name: ask})

    def _count(self, counts: bool) -> None:
        with self._lock:
            self.tally.asked += counts
            seen = self._judge(self.tally)
            self._failing = seen is not None and not seen.good
        if seen:
            self._wake()

    def _failed(self, error: Exception, hangs_s: float, other_s: float) -> bool:
        """Counts a failure, unless `hangs_s` was little time for what took the other version `other_s`; says whether it did."""
        timeout_s = self._limits.config.timeout_s
        enough_s = min(HANGS_TIMES * other_s, timeout_s)
        with self._lock:
            if isinstance(error, TimeoutError) and hangs_s < enough_s:
                self.hangs_s = max(self.hangs_s, enough_s, min(MORE_TIME * hangs_s, timeout_s))
                return False
            self.tally.failures += 1
            self.tally.reason = _reason(error)
            return True

    def _put(self, name: str, inputs: dict[str, Any]) -> None:
        size = sum(_bytes(value) for value in inputs.values())
        with self._lock:
            fits = self._bytes + size <= MAX_QUEUED_BYTES
            self._bytes += size if fits else 0
        try:
            if not fits:
                raise queue.Full
            self._queue.put_nowait((name, inputs, size))
        except queue.Full:  # what cannot be compared in time does not count
            with self._lock:
                self._bytes -= size if fits else 0
            self._metrics.compared.labels("dropped").inc()

    def _wake(self) -> None:
        self._awake = True  # whatever is queued: a verdict waits for no comparison
        with suppress(queue.Full):  # then it is awake
            self._queue.put_nowait(None)

    def _compare_all(self) -> None:
        alternate = False
        while not self._ended:
            item = self._queue.get()
            if item is not None:
                name, inputs, size = item
                alternate = not alternate
                self._compare(name, inputs, alternate)
                with self._lock:
                    self._bytes -= size
                del item, inputs
            self._awake = self._ended
            with self._lock:
                verdict = self._judge(self.tally)
            if verdict is not None and not self._ended:
                self._ended = True
                self._decide(self, verdict)

    def _compare(self, name: str, inputs: dict[str, Any], new_first: bool) -> None:
        """Puts a question to both, when no client waits, or comparisons have taken less than their part of the time."""
        # A gap that lasted for as long as a comparison takes is likely to last for one: shorter ones are those of a busy server.
        while (busy := self._limits.idle_s() < max(QUIET_S, self._last_s)) and self._over_budget() and not self._awake:
            time.sleep(QUIET_S / 2)
        if self._awake or not all(name in served.signatures for served in (self.new, self.other)):
            return
        started = time.perf_counter()
        try:
            self._put_to_both(name, inputs, new_first)
        finally:
            self._last_s = time.perf_counter() - started
            self.busy_s += self._last_s if busy else 0.0

    def _over_budget(self) -> bool:
        return self.busy_s > BUSY_COST * (self._limits.worked_s() - self.began_s)

    def _put_to_both(self, name: str, inputs: dict[str, Any], new_first: bool) -> None:
        hangs_s = self.hangs_s
        found: dict[bool, Mapping[str, Any]] = {}
        seconds: dict[bool, float] = {}
        failure = None
        for is_new in (new_first, not new_first):
            started = time.perf_counter()
            try:
                with deadline(hangs_s if is_new else self._limits.config.timeout_s):
                    found[is_new] = _finite((self.new if is_new else self.other).signatures[name].function(**inputs))
            except Exception as error:
                if not is_new:  # the other one cannot answer it either, which says nothing about the new one
                    return
                failure = error
            seconds[is_new] = time.perf_counter() - started
        if failure:
            # Where the new version answers clients it has failed there already.
            if self.answers == "nobody":
                self._failed(failure, hangs_s, seconds[False])
            return
        with self._lock:
            _add(self.tally, found[True], found[False])
            for which, taken in zip(self.tally.seconds, (seconds[True], seconds[False]), strict=True):
                which.append(taken)
        self._metrics.compared.labels("compared").inc()


def _add(tally: Tally, new: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    if "label" not in new or "label" not in other:  # of older models
        return
    tally.compared += 1
    labels = [found["label"].numpy().tolist() for found in (new, other)]
    tally.rows += len(labels[0])
    tally.agreed += sum(one == two for one, two in zip(*labels, strict=True))
    for number, found in enumerate((new, other)):
        tally.labels[number].update(labels[number])
        tally.scores[number].append(found["probabilities"].numpy())


def _reason(error: Exception) -> str:
    """The line that says something: TensorFlow puts where it was in the graph around it."""
    lines = [line.strip() for line in str(error).splitlines() if not line.strip().startswith("[[")]
    return next(filter(None, reversed(lines)), type(error).__name__)[:200]


def _finite(found: Any) -> Any:
    if not np.isfinite(found["probabilities"].numpy()).all():
        raise ValueError("answers with NaN or infinity")
    return found


def _bytes(value: tf.Tensor) -> int:
    if value.dtype == tf.string:
        return int(tf.reduce_sum(tf.strings.length(value)))
    return int(tf.size(value)) * value.dtype.size
