# SPDX-License-Identifier: Apache-2.0
"""Keeps the process's own arguments from executors."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden_arguments() -> Iterator[None]:
    """Hides `sys.argv` from what runs inside, all but the program's name.

    TFX's BaseBeamExecutor reads them as absl's flags, to set flags from Beam's arguments (its TODO b/174174381), so that a `-v`
    that was meant for another program takes Beam's first argument for its value.
    """
    arguments = sys.argv
    sys.argv = arguments[:1]
    try:
        yield
    finally:
        sys.argv = arguments
