# SPDX-License-Identifier: Apache-2.0
"""How much a server takes on at a time: bytes of requests in memory, requests that wait, and the time for each."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from aiohttp import web

from components.server.config import ServerConfig
from components.server.deadline import cancellable
from components.server.errors import RequestError
from components.server.metrics import Metrics

T = TypeVar("T")
MEBIBYTE = 1024 * 1024
BUSY, TOO_SLOW, TOO_LARGE, OUT_OF_TIME = 503, 408, 413, 504


class Limits:
    """What the requests of one server share."""

    def __init__(self, config: ServerConfig, metrics: Metrics) -> None:
        self.config, self.metrics = config, metrics
        self._pool = ThreadPoolExecutor(config.workers, thread_name_prefix="answer")
        self._bytes = 0
        self._taken_on = 0
        self._done_at = 0.0
        self._worked_s, self._counted_at = 0.0, time.monotonic()
        self._lock = threading.Lock()
        metrics.answering.set_function(lambda: min(self._taken_on, config.workers))
        metrics.waiting.set_function(lambda: max(0, self._taken_on - config.workers))

    @asynccontextmanager
    async def body(self, request: web.Request, max_mb: int) -> AsyncIterator[bytes]:
        """A request's body of at most `max_mb`, which counts as in memory until the block ends.

        Raises:
            RequestError: it is too large, comes too slowly, or there is no memory for it now.
        """
        held = 0
        too_large = RequestError(f"the request is larger than {max_mb} MiB; send less at a time", TOO_LARGE)

        def hold(size: int) -> None:
            nonlocal held
            held += size
            self._bytes += size
            if held > max_mb * MEBIBYTE:
                raise too_large
            if self._bytes > self.config.max_in_hand_mb * MEBIBYTE:
                raise RequestError("the server's memory for requests is in use; try again", BUSY)

        if (request.content_length or 0) > max_mb * MEBIBYTE:
            raise too_large
        try:
            parts = []
            try:
                async with asyncio.timeout(self.config.timeout_s):
                    async for part in request.content.iter_any():
                        hold(len(part))
                        parts.append(part)
            except TimeoutError:
                raise RequestError(f"the request did not arrive within {self.config.timeout_s:g} s", TOO_SLOW) from None
            except web.RequestPayloadError:  # damaged compression or chunks
                raise RequestError("the request's body is damaged") from None
            yield b"".join(parts)
        finally:
            self._bytes -= held

    async def answer(self, work: Callable[[], T]) -> T:
        """Runs `work` in one of the workers.

        Raises:
            RequestError: too many wait, or it was not done in time.
        """
        with self._lock:
            if self._taken_on >= self.config.max_waiting + self.config.workers:
                raise RequestError(f"{self.config.max_waiting} requests wait already; try again", BUSY)
            self._count()
            self._taken_on += 1
        run, cancel = cancellable(work)
        future = self._pool.submit(run)
        future.add_done_callback(self._done)
        answer = asyncio.wrap_future(future)
        answer.add_done_callback(_heard)
        try:
            async with asyncio.timeout(self.config.timeout_s):
                return await asyncio.shield(answer)
        except TimeoutError:
            # What waits is taken back; what runs is ended by TensorFlow between two operations, and holds its place until then.
            if not future.cancel():
                cancel()
            raise RequestError(f"not answered within {self.config.timeout_s:g} s; send less at a time", OUT_OF_TIME) from None

    def _done(self, future: Future) -> None:
        with self._lock:
            self._count()
            self._taken_on -= 1
            self._done_at = time.monotonic()

    def _count(self) -> None:
        now = time.monotonic()
        self._worked_s += (now - self._counted_at) * min(self._taken_on, self.config.workers)
        self._counted_at = now

    def worked_s(self) -> float:
        """Seconds for which workers have answered requests, of all workers together."""
        with self._lock:
            self._count()
            return self._worked_s

    def idle_s(self) -> float:
        """For how long no request has been answered or waited for that."""
        return 0.0 if self._taken_on else time.monotonic() - self._done_at

    def close(self) -> None:
        """Takes back what waits, and does not wait for what runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _heard(answer: asyncio.Future) -> None:
    """What became of a request that nobody waits for any more is no news to asyncio."""
    if not answer.cancelled():
        answer.exception()
