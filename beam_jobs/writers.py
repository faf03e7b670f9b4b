# SPDX-License-Identifier: Apache-2.0
"""Threads of this process that write a job's files. DirectRunner's go on when the job is stopped, until the process has ended."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 10.0
"""How long a stopped job waits for them: a thread looks after each clip whether it should go on."""

_idle = threading.Condition()
_active = 0
_stopped = False


class StoppedError(Exception):
    """The job of which a file is being written was stopped."""


@contextmanager
def writing() -> Iterator[Callable[[], None]]:
    """Surrounds the writing of a file, from before it is created until it is under its name or removed.

    Yields:
        What raises StoppedError if the job was stopped meanwhile.

    Raises:
        StoppedError: it was stopped before.
    """
    global _active
    with _idle:
        check()
        _active += 1
    try:
        yield check
    finally:
        with _idle:
            _active -= 1
            _idle.notify_all()


def check() -> None:
    """Raises StoppedError if the job was stopped."""
    if _stopped:
        raise StoppedError("the job was stopped")


def start() -> None:
    """Lets the threads of a new job write."""
    global _stopped
    _stopped = False


def stop() -> None:
    """Stops all threads that write, and returns when none of them does."""
    global _stopped
    with _idle:
        _stopped = True
        _idle.wait_for(lambda: _active == 0, PATIENCE_S)
