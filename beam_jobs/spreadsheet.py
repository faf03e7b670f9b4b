# SPDX-License-Identifier: Apache-2.0
"""CSV files of names that came from outside, safe to open in a spreadsheet: no cell is taken for a formula there.

A name such as `=cmd|'/C calc'!A0` gets an apostrophe in front, as OWASP's page on CSV injection has it, and `read_rows` takes it
away again. A name that already looks so gets one more, so that every name is read back as it was. What follows a `;` is treated
alike, for spreadsheets in countries where that separates cells.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_BEGINS_FORMULA = r"(?='*[=+\-@\t\r\n＝＋－＠])"  # noqa: RUF001 (a spreadsheet takes the full-width ones too)
_UNGUARDED = re.compile(f"(^|;){_BEGINS_FORMULA}")
_GUARDED = re.compile(f"(^|;)'{_BEGINS_FORMULA}")


def guard(text: str) -> str:
    """A cell that a spreadsheet shows as text."""
    return _UNGUARDED.sub(r"\1'", text)


def unguard(cell: str) -> str:
    """The text of which `guard` made this cell."""
    return _GUARDED.sub(r"\1", cell)


def csv_rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]] = (), header: bool = False) -> bytes:
    """Rows as CSV in UTF-8, lines ended by line feeds; numbers stay as they are, negative ones too."""
    text = io.StringIO()
    # All text in quotes: Python 3.11 writes a carriage return without, and readers end the row there.
    writer = csv.DictWriter(text, columns, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    if header:
        writer.writeheader()
    for row in rows:
        writer.writerow({name: guard(value) if isinstance(value, str) else value for name, value in row.items()})
    return text.getvalue().encode()


def read_rows(text: str) -> Iterator[dict[str, str]]:
    """Reads what `csv_rows` wrote, header and all."""
    for row in csv.DictReader(io.StringIO(text, newline="")):
        yield {name: unguard(value) for name, value in row.items()}
