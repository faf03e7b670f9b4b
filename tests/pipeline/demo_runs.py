# SPDX-License-Identifier: Apache-2.0
"""What the small demo's runs left behind: kept in a module, since another folder's conftest may take the name of this one's."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DemoRun:
    """A finished call of `audio-gender run`: what the terminal showed, the result's JSON, and afterwards serving's files and the
    bytes of the work folder, as `du` counts them."""

    status: int
    stdout: str
    terminal: str
    result: dict[str, Any]
    serving: dict[str, bytes]
    disk_bytes: int


@dataclass(frozen=True)
class Demo:
    """Calls of `audio-gender run` one after the other in one work folder."""

    workdir: Path
    first: DemoRun
    repeated: DemoRun
    refused: DemoRun
    damaged_shard: Path
    damaged: DemoRun
    waiting_status: int
    waiting_terminal: str
    listed: subprocess.CompletedProcess[str]
    listed_json: list[dict[str, Any]]

    @property
    def dataset(self) -> Path:
        return Path(self.first.result["folders"]["dataset"])

    @property
    def served_model(self) -> Path:
        return self.workdir / "serving" / self.first.result["serving_version"]
