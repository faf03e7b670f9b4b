# SPDX-License-Identifier: Apache-2.0
"""A pod's one container as a process of this machine."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from api import Manifest

CHECKOUT = Path(__file__).parents[2]
POLL_S = 0.05
LOG_AS_MESSAGE_BYTES = 2048


class Container:
    """A process that writes its output down line by line, with times, and what it says when it ends."""

    def __init__(self, pod: Manifest, command: list[str], address: str, folder: Path) -> None:
        self.pod, self.spec, self.address = pod["metadata"]["name"], pod["spec"]["containers"][0], address
        self._message_file = folder / f"{self.pod}.message"
        self._message_file.touch()
        message_path = self.spec["terminationMessagePath"]
        self._started, self._reason = now(), ""
        self._lines: list[tuple[str, bytes]] = []
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--"]
            + [argument.replace(message_path, str(self._message_file)) for argument in command],
            cwd=CHECKOUT,
            env=environment(pod, address),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(folder / f"{self.pod}.log",))
        self._reader.start()

    def kill(self, reason: str = "") -> None:
        """`kill -9` of the process and what it started; its status gives the reason."""
        self._reason = reason
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._reader.join()

    def status(self) -> Manifest:
        """The pod's status."""
        code = None if self._reader.is_alive() else self._process.wait()
        container: Manifest = {"name": self.spec["name"], "image": "none", "imageID": "none", "restartCount": 0}
        if code is None:
            phase, container["state"] = "Running", {"running": {"startedAt": self._started}}
        else:
            phase, container["state"] = "Failed" if code else "Succeeded", {"terminated": self._end(code)}
        return {
            "phase": phase,
            "startTime": self._started,
            "containerStatuses": [{**container, "ready": code is None}],
            "conditions": [{"type": "Ready", "status": str(code is None)}],
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
        }

    def lines(self, follow: bool, times: bool, since_s: float | None) -> Iterator[bytes]:
        """Its output; with `follow`, until it ends."""
        since = "" if since_s is None else now(-since_s)
        number = 0
        while True:
            ended = not self._reader.is_alive()
            while number < len(self._lines):
                written, line = self._lines[number]
                number += 1
                if written >= since:
                    yield written.encode() + b" " + line if times else line
            if ended or not follow:
                return
            time.sleep(POLL_S)

    def _read(self, log_file: Path) -> None:
        assert self._process.stdout is not None
        with log_file.open("wb", buffering=0) as log:
            for line in self._process.stdout:
                log.write(line)
                self._lines.append((now(), line))

    def _end(self, code: int) -> Manifest:
        message = self._message_file.read_text()
        if not message and code and self.spec["terminationMessagePolicy"] == "FallbackToLogsOnError":
            message = b"".join(line for _, line in self._lines)[-LOG_AS_MESSAGE_BYTES:].decode(errors="replace")
        return {
            "exitCode": 128 - code if code < 0 else code,
            "reason": self._reason or ("Error" if code else "Completed"),
            "message": message,
            "startedAt": self._started,
            "finishedAt": now(),
        }


def now(later_s: float = 0) -> str:
    """The time in the form of a kubelet's log; all of one length."""
    return (datetime.now(UTC) + timedelta(seconds=later_s)).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def environment(pod: Manifest, address: str) -> dict[str, str]:
    """The image's variables, and the container's: plain ones, and those from the pod's own fields."""
    values = {
        "HOME": os.environ["HOME"],
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONUNBUFFERED": "1",
    }
    for variable in pod["spec"]["containers"][0].get("env", []):
        if "value" in variable:
            values[variable["name"]] = variable["value"]
        elif "fieldRef" in variable.get("valueFrom", {}):
            values[variable["name"]] = _field(pod, variable["valueFrom"]["fieldRef"]["fieldPath"], address)
    return values


def _field(pod: Mapping[str, Manifest], path: str, address: str) -> str:
    """What the downward API says: `metadata.name`, `metadata.labels['app']`, `status.podIP`."""
    if path == "status.podIP":
        return address
    path, _, key = path.removesuffix("']").partition("['")
    kind, name = path.split(".")
    value = pod[kind][name]
    return str(value.get(key, "") if key else value)
