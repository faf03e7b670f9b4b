# SPDX-License-Identifier: Apache-2.0
"""What the terminal shows: results, the project's own words and progress bars, with library noise kept in a log file."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from beam_jobs.visible import visible


class _Terminal(Console):
    """Shows text from outside as it is: what would steer the terminal is written out."""

    def render_str(self, text: str, **options: Any) -> Text:
        """What rich makes of each string that it is given, those in tables too."""
        return super().render_str(visible(text), **options)


# rich shows nothing at all on a terminal of no width, which some that are not terminals call themselves.
if not os.environ.get("COLUMNS", "").strip("0"):
    os.environ.pop("COLUMNS", None)

# soft_wrap leaves it to the terminal to break long lines: what is copied from there has no line breaks in it.
console = _Terminal(stderr=True, highlight=False, soft_wrap=True)
"""stderr: progress and messages."""
results = _Terminal(highlight=False, soft_wrap=True)
"""stdout: what was asked for, to be read, piped and filtered."""

PLAIN_PROGRESS_EVERY_S = 10.0


class Advance(Protocol):
    """Moves a progress bar on."""

    def __call__(self, amount: float = 1, note: str = "") -> None:
        """Adds `amount` steps and shows `note` behind the bar."""


def say(message: str) -> None:
    """Prints a message to stderr as it is: a path may hold what rich would take for markup."""
    console.print(message, markup=False)


def tell(line: str) -> None:
    """Prints a line of a result to stdout as it is."""
    results.print(line, markup=False)


class _Bar(Progress):
    """A bar on one line, and the notes below it, where they can be wrapped."""

    def get_renderables(self) -> Iterator[RenderableType]:
        """The line of each bar, then its note."""
        for task in self.tasks:
            yield self.make_tasks_table([task])
            if note := task.fields["note"]:
                yield Text(f"  {visible(note)}", no_wrap=False, overflow="fold")


@contextmanager
def progress(description: str, total: float, unit: str = "") -> Iterator[Advance]:
    """Shows a bar with rate and time left while the body runs; plain lines where there is no terminal."""
    started = time.monotonic()
    if not console.is_terminal:
        if total == 1:
            say(f"  {description} …")
        yield _plain_lines(description, total, unit, started)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    # rich would put its own stand-in for sys.stderr in place, and absl and logging, first imported while a bar is shown, would
    # keep it for ever: their lines would then go to the terminal, past `noise_to`.
    with _Bar(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task(visible(description), total=total, rate="", note="")

        def advance(amount: float = 1, note: str = "") -> None:
            bar.advance(task, amount)
            done = bar.tasks[task].completed
            bar.update(task, rate=_rate(done, unit, started), note=visible(note))

        yield advance


def _plain_lines(description: str, total: float, unit: str, started: float) -> Advance:
    done, last = 0.0, started

    def advance(amount: float = 1, note: str = "") -> None:
        nonlocal done, last
        done += amount
        now = time.monotonic()
        if now - last >= PLAIN_PROGRESS_EVERY_S:
            last = now
            left = f", {(now - started) * (total - done) / done:.0f} s left" if done else ""
            say(f"  {description}: {done:.0f}/{total:.0f} {_rate(done, unit, started)}{left} {note}".rstrip())

    return advance


def _rate(done: float, unit: str, started: float) -> str:
    elapsed_s = time.monotonic() - started
    if not unit or not done or elapsed_s < 0.5:
        return ""
    return f"{done / elapsed_s:.1f} {unit}/s" if done >= elapsed_s else f"{elapsed_s / done:.1f} s each"


@contextmanager
def noise_to(log_path: Path) -> Iterator[None]:
    """Sends everything that libraries write to stdout or stderr, from C++ too, to `log_path`; `console` stays on the terminal.

    Own code and not wurlitzer, which does not give away the terminal that it keeps, and `console` needs it.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with (
        log_path.open("ab", buffering=0) as log,
        os.fdopen(os.dup(1), "wb") as stdout,
        os.fdopen(os.dup(2), "w", errors="backslashreplace") as screen,
    ):
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        console.file = screen
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            console.file = None  # type: ignore[assignment]  # rich: whatever sys.stderr then is
            os.dup2(stdout.fileno(), 1)
            os.dup2(screen.fileno(), 2)
