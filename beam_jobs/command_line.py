# SPDX-License-Identifier: Apache-2.0
"""Commands to print: as they can be pasted into the shell in which this process was started."""

import shlex
import shutil
import sys
from pathlib import Path

NAME = "audio-gender"
MODULE = "pipeline"


def command(*arguments: str | Path) -> str:
    """The command line that runs `audio-gender` with these arguments, quoted for a shell."""
    return shlex.join([*_program(), *map(str, arguments)])


def _program() -> list[str]:
    typed = Path(sys.argv[0])
    if typed.name == "__main__.py" and typed.parent.name == MODULE:
        return [sys.orig_argv[0], "-m", MODULE]
    if typed.name != NAME:
        return [NAME]  # another program that uses this one as a library
    on_path = shutil.which(NAME)
    # A shell that finds the command on PATH hands it its whole path.
    if on_path and typed.exists() and typed.samefile(on_path):
        return [NAME]
    return [sys.argv[0]]
