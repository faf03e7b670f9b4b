# SPDX-License-Identifier: Apache-2.0
"""Which folders of a serving folder are versions."""

import re
from pathlib import Path

COMING, GOING = ".coming-", ".going-"
"""How the names of folders begin that are being copied or removed; TensorFlow Serving takes up names that are numbers only."""


def is_version(name: str) -> bool:
    """Whether a model server takes a folder of that name for a version that was pushed from here."""
    return re.fullmatch("[1-9][0-9]{0,18}", name) is not None


def versions(serving: Path) -> list[int]:
    """The versions that are there, ascending; none where there is no such folder."""
    if not serving.is_dir():
        return []
    return sorted(int(path.name) for path in serving.iterdir() if is_version(path.name) and path.is_dir())
