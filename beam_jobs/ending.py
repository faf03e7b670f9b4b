# SPDX-License-Identifier: Apache-2.0
"""How a program of this project ends: by itself, by a UserError, or by a signal, and always with one line and a status."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from beam_jobs.console import console
from beam_jobs.errors import UserError
from beam_jobs.surroundings import temporary_files
from beam_jobs.visible import visible

USER_ERROR_STATUS = 2
SIGNALS = {
    signal.SIGINT: "Ctrl-C (SIGINT)",
    signal.SIGTERM: "SIGTERM",
    signal.SIGHUP: "SIGHUP: its terminal was closed",
}

AGAIN_S = 1.0
"""After which an interrupt comes again, if nothing is being cleaned up because of it: then it was lost."""

NO_TEMPORARY_FOLDER = "No usable temporary directory found"
"""What `tempfile` says, which tries TMPDIR, /tmp, /var/tmp and the current folder."""


@contextmanager
def one_line_ending() -> Iterator[None]:
    """Runs a program's body, and ends the process where the body is ended early.

    A UserError is one line and exit status 2. Of `SIGNALS` each interrupts the body as Ctrl-C does, so that whatever cleans up
    after the one cleans up after all, and then is one line and exit status 128 + its number. One that this process was
    started to ignore, by `nohup` or in the background of a script, stays ignored. Temporary files are gone in each case.
    """
    caught: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        # It can be lost, and the run would go on, to a push even: Python ignores what is raised in `__del__` or in a weak
        # reference's callback, and TensorFlow's C++ makes a SystemError of it, which others then take for a failure.
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        if number == signal.SIGALRM and _is_cleaning_up():
            return
        caught.append(number)
        threading.excepthook = lambda arguments: None  # Beam's threads complain of the workers that end too
        raise KeyboardInterrupt

    def say_nothing(unraisable: Any) -> None:
        if not (caught and isinstance(unraisable.exc_value, KeyboardInterrupt)):
            hook_before(unraisable)

    hook_before, sys.unraisablehook = sys.unraisablehook, say_nothing
    signal.signal(signal.SIGALRM, interrupt)
    before = {one: signal.getsignal(one) for one in SIGNALS}
    for one, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(one, interrupt)
    try:
        with temporary_files():
            yield
    except BaseException as error:
        # Whatever the interrupt became on its way: typer, for one, makes an exit of it.
        if caught:
            signal.setitimer(signal.ITIMER_REAL, 0)
            _last_line(f"stopped by {SIGNALS[signal.Signals(caught[0])]}")
            _leave(128 + caught[0])
        if isinstance(error, FileNotFoundError) and NO_TEMPORARY_FOLDER in str(error):
            error = UserError("no writable folder for temporary files; set TMPDIR to one with enough space")
        if not isinstance(error, UserError):
            raise
        _last_line(f"error: {error}")
        sys.exit(USER_ERROR_STATUS)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        sys.unraisablehook = hook_before


def _is_cleaning_up() -> bool:
    """Whether what runs now runs because of an interrupt, or of what it became on its way."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            return True
        error = error.__context__
    return False


def _leave(status: int) -> NoReturn:
    """Ends the process without waiting for its threads: Python would abort while one is amid C++ code (python/cpython#87135)."""
    atexit._run_exitfuncs()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _last_line(text: str) -> None:
    with suppress(OSError):  # nobody is there to read it
        console.print(visible(text), markup=False, style="red")
