# SPDX-License-Identifier: Apache-2.0
"""Which folders of a serving folder are versions."""

import re


def is_version(name: str) -> bool:
    """Whether a model server takes a folder of that name for a version that was pushed from here."""
    return re.fullmatch("[1-9][0-9]{0,18}", name) is not None
