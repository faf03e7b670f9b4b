# SPDX-License-Identifier: Apache-2.0
"""Which settings hold a secret."""

import re

_NAMES = re.compile(r"(?i)secret|passw(or)?d|token|credential|private.?key|api.?key|connection.?string|access.?key(?!.?id)")
_IN_A_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


def holds_secret(name: str, value: str) -> bool:
    """Whether a setting holds a secret: an environment variable, or an option such as `--s3_secret_access_key`.

    It does by its name, or where its value is an address with a password in it.
    """
    return _NAMES.search(name) is not None or _IN_A_URL.search(value) is not None
