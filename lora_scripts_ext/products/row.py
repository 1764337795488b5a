"""A row of a product list, before its columns are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: columns that a list may have
MOST_COLUMNS = 1000
#: characters of a cell, those of Excel
LONGEST_CELL = 32_767
#: bytes of a list
LARGEST = 128 * 1024 * 1024


@dataclass(frozen=True)
class Row:
    """The cells of a row.

    Attributes:
        number: as a spreadsheet counts, from 1.
        cells: as text, trimmed.
        doubt: why the row cannot be read; it goes after "this row". Empty where it can.
    """

    number: int
    cells: list[str]
    doubt: str = ""


#: rows in the order of the list, empty ones left out
Rows = Iterator[Row]
