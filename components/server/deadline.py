# SPDX-License-Identifier: Apache-2.0
"""An end for calls of a model that would never come to one.

TensorFlow ends a graph between two operations where the call has a CancellationManager: no thread, no processor and no memory is
kept. `tf.` does not show them, and TensorFlow (2.21) finds the manager of a call in one variable for all threads, where a call of
one thread would be ended with that of another. So each thread has its own here.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tensorflow.python.eager import cancellation

T = TypeVar("T")
_thread = threading.local()
_of_all_threads = cancellation.context


def _manager() -> Any:
    return getattr(_thread, "manager", None) or _of_all_threads()


vars(cancellation)["context"] = _manager


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Ends what the block asks of a model after some seconds.

    Raises:
        TimeoutError: it took longer.
    """
    manager, over = cancellation.CancellationManager(), threading.Event()

    def end() -> None:
        over.set()
        manager.start_cancel()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        with _used(manager):
            yield
    except Exception:  # whatever was made of TensorFlow's CancelledError on its way
        if not over.is_set():  # TensorFlow cancels the manager of a call that fails, too
            raise
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    finally:
        timer.cancel()


def cancellable(work: Callable[[], T]) -> tuple[Callable[[], T], Callable[[], None]]:
    """`work`, and what ends it from another thread: it then raises TensorFlow's CancelledError."""
    manager = cancellation.CancellationManager()

    def run() -> T:
        with _used(manager):
            return work()

    return run, manager.start_cancel


@contextmanager
def _used(manager: Any) -> Iterator[None]:
    """By the calls of this thread, in place of the one of a block around."""
    before, _thread.manager = getattr(_thread, "manager", None), manager
    try:
        yield
    finally:
        _thread.manager = before
