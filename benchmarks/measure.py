# SPDX-License-Identifier: Apache-2.0
"""Measuring a variant: each run in a process of its own, timed inside, its memory and CPU time watched from outside."""

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import psutil

SAMPLE_EVERY_S = 0.05


@dataclass(frozen=True)
class Run:
    """One run. The clock counts from after the imports, and CPU time too but for the job's worker processes, which are
    counted whole; memory is the whole process tree's. `chain_cpu_s` is the CPU time of the process and of the busiest that it
    started: how long the run takes where each has a core to itself, whatever else the machine does now."""

    clips: int
    seconds: float
    cpu_s: float
    peak_mb: float
    chain_cpu_s: float


@dataclass(frozen=True)
class Pair:
    """Two runs of one variant that differ in the number of clips: the difference is what clips cost, without any start-up."""

    small: Run
    large: Run

    @property
    def seconds(self) -> float:
        return self.large.seconds - self.small.seconds

    @property
    def cpu_s(self) -> float:
        return self.large.cpu_s - self.small.cpu_s

    @property
    def chain_cpu_s(self) -> float:
        return self.large.chain_cpu_s - self.small.chain_cpu_s

    @property
    def clips(self) -> int:
        return self.large.clips - self.small.clips


def run(command: Sequence[str], log: Path) -> Run:
    """Runs a command whose last line of output is {"seconds", "clips"} in JSON, with "cpu_s" where it counts its CPU time itself.

    Raises:
        RuntimeError: it failed; the message is the end of what it wrote.

    """
    os.sync()  # what the run before wrote is not this one's burden
    before = _children_cpu_s()
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        peak: list[float] = [0.0]
        used: dict[int, float] = {}
        watcher = threading.Thread(target=_watch, args=(process.pid, peak, used), daemon=True)
        watcher.start()
        output, _ = process.communicate()
        watcher.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    figures = json.loads(output.strip().splitlines()[-1])
    cpu_s = figures.get("cpu_s", _children_cpu_s() - before)
    chain = used.pop(process.pid, 0.0) + max(used.values(), default=0.0)
    return Run(figures["clips"], figures["seconds"], cpu_s, peak[0], chain)


def last_line(command: Sequence[str], log: Path) -> str:
    """Runs a command and returns the last line of its output; `log` gets its errors.

    Raises:
        RuntimeError: it failed; the message is the end of what it wrote.

    """
    with log.open("w") as errors:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed; the end of {log}:\n{log.read_text()[-2000:]}")
    return (done.stdout.strip().splitlines() or [""])[-1]


def python(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def per_clip(pairs: Sequence[Pair], what: Callable[[Pair], float] = lambda pair: pair.seconds) -> float:
    """Cost of a clip over all pairs, in the unit of `what`."""
    return sum(what(pair) for pair in pairs) / sum(pair.clips for pair in pairs)


def peak_mb(pairs: Sequence[Pair]) -> float:
    return mean(pair.large.peak_mb for pair in pairs)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _watch(pid: int, peak: list[float], used: dict[int, float]) -> None:
    """Keeps the greatest resident memory of a process and all that it started, and the CPU time of each."""
    while psutil.pid_exists(pid):
        total = 0
        try:
            root = psutil.Process(pid)
            if root.status() == psutil.STATUS_ZOMBIE:
                return
            for process in (root, *root.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                    times = process.cpu_times()
                    used[process.pid] = times.user + times.system
                except psutil.Error:
                    continue
        except psutil.Error:
            return
        peak[0] = max(peak[0], total / 2**20)
        time.sleep(SAMPLE_EVERY_S)
