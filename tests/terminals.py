# SPDX-License-Identifier: Apache-2.0
"""Commands in terminals of a given width: a bare pseudo-terminal for what is sent to it, tmux for what one then sees there."""

import fcntl
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import termios
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

SIZE = ("COLUMNS", "LINES")
"""Variables that programs believe rather than the terminal."""
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
needs_tmux = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed: nothing to say what a terminal shows")


def in_pty(columns: int, *command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> tuple[int, str]:
    """Runs a command in a pseudo-terminal: its exit status and all that it wrote, without control sequences."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {**_without_size(), "TERM": "xterm-256color", **(env or {})}
    process = subprocess.Popen(
        [*map(str, command)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=cwd, start_new_session=True
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    return process.wait(), CONTROL.sub("", written.decode(errors="replace"))


def _without_size() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in SIZE}


class Tmux:
    """A tmux of the test's own, with one window."""

    def __init__(self, columns: int, command: str, cwd: Path) -> None:
        self._socket = f"test-{uuid.uuid4().hex[:8]}"
        self._tmux("new-session", "-d", "-x", str(columns), "-y", "60", "-c", str(cwd), "sh", "-c", f"{command}; echo DONE; cat")

    def screen(self) -> list[str]:
        """The lines that one sees, and those above them."""
        return self._tmux("capture-pane", "-p", "-S", "-").rstrip("\n").splitlines()

    def until(self, wanted: Callable[[list[str]], bool], timeout_s: float = 120) -> list[str]:
        """The screen as soon as it is as wanted."""
        end = time.monotonic() + timeout_s
        while not wanted(lines := self.screen()):
            assert time.monotonic() < end, "\n".join(lines)
            time.sleep(0.05)
        return lines

    def close(self) -> None:
        """Ends it with all that runs in it."""
        self._tmux("kill-server")

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, "-f", "/dev/null", *arguments], capture_output=True, text=True, env=_without_size()
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def seen(columns: int, *command: str | Path, cwd: Path) -> list[str]:
    """The lines that a terminal shows after a command."""
    tmux = Tmux(columns, shlex.join(map(str, command)), cwd)
    try:
        return tmux.until(lambda lines: "DONE" in lines)[:-1]
    finally:
        tmux.close()


def printed_commands(text: str) -> list[str]:
    """The commands that a text tells to type, between backticks."""
    return re.findall(r"`([^`]*(?:audio-gender|-m pipeline)'? [^`]*)`", text)
