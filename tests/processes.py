# SPDX-License-Identifier: Apache-2.0
"""Server processes of a test: each in a session of its own, with a log file, and gone when the test is, however it ends."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache"
"""What the tests fetch and build once."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int, host: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


class Processes:
    """Named server processes whose output goes to `folder/<name>.log`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *command],
                cwd=self.folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """`kill -9`, of this one process and not of what it started."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def wait_until(self, ready: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
        """Waits for `ready`; a process that ends meanwhile, or the time that runs out, is an error that names the log."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended with status {process.returncode}: see {self.folder}/{name}.log")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} not ready after {timeout_s:g} s: see {self.folder}/*.log")
            time.sleep(0.2)

    def stop(self) -> None:
        """Ends all of them, with what they started."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            # Each leads a session, and what it started may outlive it there.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self._running.clear()
