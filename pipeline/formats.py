# SPDX-License-Identifier: Apache-2.0
"""How `audio-gender predict` may write its answers."""

import enum


class Format(enum.StrEnum):
    """How answers are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    TEXTGRID = "textgrid"
    AUDACITY = "audacity"
