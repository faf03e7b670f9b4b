# SPDX-License-Identifier: Apache-2.0
"""Tables of text with a header: comma-separated as RFC 4180 has it, or tab-separated without quotes. By the line, and strict."""

import codecs
import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from beam_jobs.corpus.listing import LineError, shown
from beam_jobs.errors import UserError
from beam_jobs.paths import check_file


def read_table(
    path: Path,
    delimiter: str,
    columns: Sequence[str],
    optional: Sequence[str] = (),
    bad: Callable[[LineError], None] | None = None,
) -> Iterator[tuple[str, dict[str, str]]]:
    """Reads the rows, one a line, each with where it stands (`path:line`); empty lines and other columns are passed over.

    A row with more or fewer fields than the header is not used: one separator too many would move a label into another column.

    Args:
        path: the file.
        delimiter: "," or a tab; only with "," may a field be quoted.
        columns: those that must be there.
        optional: those that may be there; where they are not, they read as empty.
        bad: is told of each line that cannot be read, and then the next is; None: that is an error.

    Raises:
        UserError: no such file, a header without these columns, or, without `bad`, a line that cannot be read, by file and line.

    """
    header: list[str] = []
    for where, raw in _lines(path):
        try:
            line = _decode(where, raw)
            if not line.strip():
                continue
            fields = _split(where, line, delimiter)
            if header and len(fields) != len(header):
                raise LineError(where, f"{len(fields)} fields, but the header has {len(header)}; fix or delete {shown(line)}")
        except LineError as error:
            if not header or bad is None:
                raise
            bad(error)
            continue
        if not header:
            header = fields
            wanted = [*columns, *(name for name in optional if name in header)]
            if any(header.count(name) != 1 for name in wanted):
                kind = "comma" if delimiter == "," else "tab"
                raise UserError(
                    f"{where}: expected a header with the columns {', '.join(columns)}, each once, {kind}-separated; "
                    f"found {shown(line)}"
                )
        else:
            row = dict(zip(header, fields, strict=True))
            yield where, {name: row.get(name, "") for name in (*columns, *optional)}
    if not header:
        raise UserError(f"{path}: empty; expected a header with the columns {', '.join(columns)}")


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        check_file(path)
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                yield f"{path}:{number}", raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _decode(where: str, raw: bytes) -> str:
    try:
        return raw.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise LineError(where, f"not UTF-8 text (byte {error.start + 1}); save the file as UTF-8") from None


def _split(where: str, line: str, delimiter: str) -> list[str]:
    # Common Voice's sentences hold single quotation marks, which mean nothing there.
    if delimiter == "\t":
        return [field.strip() for field in line.split("\t")]
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True))]
    except csv.Error as error:
        raise LineError(where, f"{error}; fix or delete {shown(line)}") from None
