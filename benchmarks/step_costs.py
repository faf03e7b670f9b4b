# SPDX-License-Identifier: Apache-2.0
"""CPU time and peak memory of one step after the other, in this process and in those of a cluster that it started."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from beam_jobs.console import say

STARTED_BY_POOL = "beam_jobs.worker"


def peak_bytes(pid: int) -> int:
    """The most memory that a process had resident since `forget_peak`; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def forget_peak(pid: int) -> None:
    """Lets the kernel count anew."""
    with suppress(OSError):  # it ended
        Path(f"/proc/{pid}/clear_refs").write_text("5")


class Cluster:
    """CPU time and peak memory of the cluster's processes, which start and end during a step: they are looked at all the time."""

    def __init__(self) -> None:
        self._cpu_s: dict[int, float] = {}
        self._before: dict[int, float] = {}
        self._peaks: dict[int, int] = {}
        self._workers: set[int] = set()
        self._jvms: set[int] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def begin(self) -> None:
        """Counts from here on."""
        with self._lock:
            for pid in self._cpu_s:
                forget_peak(pid)
            self._before, self._peaks = dict(self._cpu_s), {}

    def found(self) -> dict[str, float]:
        """Since `begin`."""
        self._look()
        with self._lock:
            used = {pid: seconds - self._before.get(pid, 0) for pid, seconds in self._cpu_s.items()}
            peaks = [peak for pid, peak in self._peaks.items() if pid in self._workers and used[pid] > 0]
        return {
            "worker_cpu_s": round(sum(used[pid] for pid in self._workers), 2),
            "worker_peak_rss_mb": max(peaks, default=0) // 10**6,
            "flink_cpu_s": round(sum(used[pid] for pid in self._jvms), 2),
        }

    def _watch(self) -> None:
        while True:
            self._look()
            time.sleep(0.5)

    def _look(self) -> None:
        with self._lock:
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    times = process.cpu_times()
                    self._cpu_s[process.pid] = times.user + times.system
                    self._peaks[process.pid] = max(self._peaks.get(process.pid, 0), peak_bytes(process.pid))
                    if STARTED_BY_POOL in process.cmdline():
                        self._workers.add(process.pid)
                    elif process.name() == "java":
                        self._jvms.add(process.pid)


class Steps:
    """Measures one step after the other, and writes what there is after each."""

    def __init__(self, file: Path, clips: int, on_flink: bool) -> None:
        self._file = file
        self._cluster = Cluster() if on_flink else None
        self._found: dict[str, Any] = {"clips": clips, "steps": {}}

    def begin(self, _: str) -> None:
        """Forgets the peaks so far."""
        forget_peak(os.getpid())
        if self._cluster:
            self._cluster.begin()
        self._started, self._cpu = time.monotonic(), self._own_cpu()

    def end(self, step: str) -> None:
        """Notes what the step took."""
        found = {
            "wall_s": round(time.monotonic() - self._started, 2),
            "cpu_s": round(self._own_cpu() - self._cpu, 2),
            "peak_rss_mb": peak_bytes(os.getpid()) // 10**6,
            **(self._cluster.found() if self._cluster else {}),
        }
        self._found["steps"][step] = found
        self._file.write_text(json.dumps(self._found, indent=1))
        say(f"{self._found['clips']:>9,}  {step:<22}{found}")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measures its body."""
        self.begin(name)
        yield
        self.end(name)

    @staticmethod
    def _own_cpu() -> float:
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system
