"""Tables of text with a header: comma-separated as RFC 4180 has it, or tab-separated without quotes. By the line, and strict."""

import codecs
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from beam_jobs.errors import UserError
from beam_jobs.paths import check_file

SHOWN = 120  # characters of a line that an error quotes


def read_table(
    path: Path, delimiter: str, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, str]]]:
    """Reads the rows, one a line, each with where it stands (`path:line`); empty lines and other columns are passed over.

    A row with more or fewer fields than the header is an error: one separator too many would move a label into another
    column.

    Args:
        path: the file.
        delimiter: "," or a tab; only with "," may a field be quoted.
        columns: those that must be there.
        optional: those that may be there; where they are not, they read as empty.

    Raises:
        UserError: no such file, or a line that cannot be read, by file and line.

    """
    header: list[str] = []
    for where, line in _lines(path):
        fields = _split(where, line, delimiter)
        if not header:
            header = fields
            wanted = [*columns, *(name for name in optional if name in header)]
            if any(header.count(name) != 1 for name in wanted):
                kind = "comma" if delimiter == "," else "tab"
                raise UserError(
                    f"{where}: expected a header with the columns {', '.join(columns)}, each once, {kind}-separated; "
                    f"found {line[:SHOWN]!r}"
                )
        elif len(fields) != len(header):
            raise UserError(f"{where}: {len(fields)} fields, and the header has {len(header)}; fix or delete {line[:SHOWN]!r}")
        else:
            row = dict(zip(header, fields, strict=True))
            yield where, {name: row.get(name, "") for name in (*columns, *optional)}
    if not header:
        raise UserError(f"{path}: empty; expected a header with the columns {', '.join(columns)}")


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        check_file(path)
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                where = f"{path}:{number}"
                try:
                    line = (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).decode().rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise UserError(f"{where}: not UTF-8 text (byte {error.start + 1}); save the file as UTF-8") from None
                if line.strip():
                    yield where, line
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _split(where: str, line: str, delimiter: str) -> list[str]:
    # Common Voice's sentences hold single quotation marks, which mean nothing there.
    if delimiter == "\t":
        return [field.strip() for field in line.split("\t")]
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True))]
    except csv.Error as error:
        raise UserError(f"{where}: {error}; fix or delete {line[:SHOWN]!r}") from None
