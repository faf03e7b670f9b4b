# SPDX-License-Identifier: Apache-2.0
"""Tables on stdout that lose nothing to a narrow terminal."""

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from beam_jobs.console import results, tell

GAP = 2
MAY_BREAK = " | "
"""Where a cell may go on in the next line before single words are wrapped: between the rows of a confusion matrix."""

Measure = Callable[[str], int]


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Prints a table whose first `left` columns are text and whose others are figures.

    In a pipe each row is one line, however long. On a terminal too narrow for that, column names and cells go on in the next
    line; where even single words do not fit side by side, each row becomes a paragraph. Nothing is cut.
    """
    tell(title)
    widths = _widths(columns, rows, results.width) if results.is_terminal else _bounds(columns, rows, _line, _line)
    if widths is None:
        _print_paragraphs(columns, rows)
        return
    for line in _lines(columns, widths, left):
        results.print(line, markup=False, style="bold")
    for row in rows:
        for line in _lines(row, widths, left):
            tell(line)


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """The width of each column in a terminal; None where the table does not fit it."""
    spare = width - GAP * (len(columns) - 1)
    wanted = _bounds(columns, rows, _line, _line)
    if sum(wanted) <= spare:
        return wanted
    for of_names, of_cells in ((_word, _line), (_word, _part), (_word, _word)):
        least = _bounds(columns, rows, of_names, of_cells)
        left_over = spare - sum(least)
        if left_over >= 0:
            widths = []
            for most, width_ in zip(wanted, least, strict=True):
                widths.append(width_ + min(most - width_, left_over))
                left_over -= widths[-1] - width_
            return widths
        wanted = least
    return None


def _bounds(columns: Sequence[str], rows: Sequence[Sequence[str]], of_names: Measure, of_cells: Measure) -> list[int]:
    return [max([of_names(name), *(of_cells(row[number]) for row in rows)]) for number, name in enumerate(columns)]


def _line(cell: str) -> int:
    return cell_len(cell)


def _part(cell: str) -> int:
    return max(map(cell_len, cell.split(MAY_BREAK)))


def _word(cell: str) -> int:
    return max(map(cell_len, cell.split()), default=0)


def _lines(cells: Sequence[str], widths: Sequence[int], left: int) -> Iterator[str]:
    wrapped = [_wrap(cell, width) for cell, width in zip(cells, widths, strict=True)]
    for parts in zip_longest(*wrapped, fillvalue=""):
        padded = [
            set_cell_size(part, width) if number < left else " " * (width - cell_len(part)) + part
            for number, (part, width) in enumerate(zip(parts, widths, strict=True))
        ]
        yield (" " * GAP).join(padded).rstrip()


def _wrap(cell: str, width: int) -> list[str]:
    if cell_len(cell) > width:
        cell = cell.replace(MAY_BREAK, "\n")
    return [line.plain.rstrip() for line in Text(cell).wrap(results, width)] or [""]


def _print_paragraphs(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    width = max(map(cell_len, columns))
    for row in rows:
        results.print(row[0], markup=False, style="bold")
        for name, cell in zip(columns[1:], row[1:], strict=True):
            tell(f"{'':{GAP}}{set_cell_size(name, width)}{'':{GAP}}{cell}")
