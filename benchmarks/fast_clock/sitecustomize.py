# SPDX-License-Identifier: Apache-2.0
"""A clock that a benchmark moves: Python imports this at its start where the folder is on PYTHONPATH.

Who asks `time.time`, and this project's modules that ask `datetime.now`, get the real time and as many seconds as the file
FAST_CLOCK holds. Whatever waits or measures (`time.monotonic`) goes on by the real clock.
"""

import datetime
import os
import sys
import time
import types
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

FILE = Path(os.environ["FAST_CLOCK"])
REAL_TIME = time.time
PACKAGES = ("beam_jobs", "components", "pipeline")


def now_s() -> float:
    """Seconds since 1970."""
    return REAL_TIME() + float(FILE.read_text())


class FastDatetime(datetime.datetime):
    """What it makes are plain datetimes."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.datetime.fromtimestamp(now_s(), tz)


class Finder(MetaPathFinder):
    """Gives this project's modules the other `datetime`; pandas could not be imported with it."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name.split(".")[0] not in PACKAGES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def exec_module(module: types.ModuleType) -> None:
                execute(module)
                for key, value in (("datetime", FAST_MODULE), ("datetime", FastDatetime)):
                    if vars(module).get(key) is REAL[value]:
                        setattr(module, key, value)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


FAST_MODULE = types.ModuleType("datetime")
vars(FAST_MODULE).update({**vars(datetime), "datetime": FastDatetime})
REAL: dict[Any, Any] = {FAST_MODULE: datetime, FastDatetime: datetime.datetime}
time.time = now_s
sys.meta_path.insert(0, Finder())
