"""Product lists: files, folders of photos, and rows over the API, with a word on every row that is wrong."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from . import addresses, delimited_list, json_list, photo_folder, xlsx
from .columns import Columns, plain
from .mappings import Mappings
from .product import FIELDS, FILES, Product, located
from .row import LARGEST, LONGEST_CELL, MOST_COLUMNS, Row, Rows

#: products of a list
MOST_ROWS = 200_000
_JSON = frozenset({".json", ".jsonl", ".ndjson"})
_EXCEL = frozenset({".xlsx", ".xlsm"})
_OTHER_SHEETS = frozenset({".xls", ".xlsb", ".ods", ".numbers"})
# Above the header may stand a title, a date.
_HEADER_WITHIN = 20
_TAGS = re.compile("[,;|\N{FULLWIDTH COMMA}\N{FULLWIDTH SEMICOLON}\N{IDEOGRAPHIC COMMA}]")
_LONGEST_SKU = 200


@dataclass(frozen=True)
class Problem:
    """What is wrong with a row.

    Attributes:
        row: as a spreadsheet counts; of JSON lines the line, of other JSON and of photos the place, both from 1.
        column: the header of the cell; empty where it is the whole row.
        sentence: what is wrong and what to do.
    """

    row: int
    column: str
    sentence: str


@dataclass(frozen=True)
class Listing:
    """A product list as it was read.

    Attributes:
        products: of the rows that can be used, in their order.
        problems: of the rows that cannot.
        columns: which column was taken for which field.
        headers: of all columns.
        folder: what paths in the list are relative to.
    """

    products: list[Product]
    problems: list[Problem]
    columns: Columns
    headers: list[str]
    folder: Path


def read(
    path: Path,
    columns: Columns | None = None,
    *,
    encoding: str = "",
    sheet: str = "",
    readable: Callable[[str], Path] | None = None,
    photos_from: Sequence[str] = (),
    mappings: Mappings | None = None,
) -> Listing:
    """Read a product list: CSV, TSV, JSON, XLSX, or a folder of product photos.

    Args:
        path: of the file or folder.
        columns: those that are given; the others are guessed. Without any, those of ``mappings`` count.
        encoding: of a text file where it is neither UTF-8, UTF-16 nor clearly Chinese GBK.
        sheet: of a workbook; empty takes the first one that is shown.
        readable: refuses, with a UserError, a path that may not be read; None where all may.
        photos_from: what addresses on the web that files may have begin with.
        mappings: columns that were given for earlier lists.

    Raises:
        UserError: the list cannot be read, or which column has the SKU is not known.
    """
    try:
        rows = _rows(path, encoding, sheet)
        folder = path if path.is_dir() else path.parent
        return _Reader(str(path), folder, columns or Columns(), readable, photos_from, mappings).read(rows)
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error.strerror}); check the path.") from error


def from_rows(
    rows: Sequence[Mapping[str, Any]],
    columns: Columns | None = None,
    *,
    folder: Path | None = None,
    readable: Callable[[str], Path] | None = None,
    photos_from: Sequence[str] = (),
    mappings: Mappings | None = None,
) -> Listing:
    """The products of objects, such as those of a request.

    Args:
        rows: keys are the columns; values are texts, numbers or lists of texts.
        columns: as for :func:`read`.
        folder: what paths are relative to; None where they must be absolute.
        readable: as for :func:`read`.
        photos_from: likewise.
        mappings: likewise.

    Raises:
        UserError: which key has the SKU is not known.
    """
    reader = _Reader("products", folder, columns or Columns(), readable, photos_from, mappings)
    return reader.read(json_list.of_objects(enumerate(rows, 1)))


def _rows(path: Path, encoding: str, sheet: str) -> Rows:
    if path.is_dir():
        return photo_folder.read(path, encoding)
    suffix = path.suffix.lower()
    if suffix in _OTHER_SHEETS:
        raise UserError(f"{path}: files of this kind are not read; save it as XLSX or as CSV (UTF-8).")
    size = path.stat().st_size
    if size > LARGEST:
        raise UserError(f"{path}: it has {size >> 20} MiB, at most {LARGEST >> 20} are read; split the list.")
    if suffix in _EXCEL:
        return xlsx.read(path, sheet)
    if suffix in _JSON:
        return json_list.read(path, encoding)
    return delimited_list.read(path, encoding)


class _Reader:
    """Makes products of rows."""

    def __init__(
        self,
        where: str,
        folder: Path | None,
        wanted: Columns,
        readable: Callable[[str], Path] | None,
        photos_from: Sequence[str],
        mappings: Mappings | None,
    ) -> None:
        self._where = where
        self._folder = folder
        self._wanted = wanted
        self._readable = readable
        self._photos_from = photos_from
        self._mappings = mappings
        self._rows_of: dict[str, int] = {}
        self._problems: list[Problem] = []

    def read(self, rows: Rows) -> Listing:
        """The whole list."""
        header, rest = self._header(rows)
        self._headers = _named(header.cells)
        self._columns = self._completed(self._headers)
        if not self._columns.header("sku"):
            raise UserError(
                f"{self._where}: no column is the SKU, there are only {', '.join(self._headers[:20])}; name one of "
                "them sku, or say which one it is."
            )
        index = {name: number for number, name in enumerate(self._headers)}
        self._fields = {name: index[one] for name in FIELDS if (one := self._columns.header(name))}
        taken = set(self._fields.values())
        self._attributes = [(name, number) for name, number in index.items() if number not in taken]
        products = []
        for count, row in enumerate(rest, 1):
            if count > MOST_ROWS:
                raise UserError(f"{self._where}: it has more than {MOST_ROWS} rows; split the list.")
            product = self._product(row)
            if product:
                products.append(product)
        return Listing(products, self._problems, self._columns, self._headers, self._folder or Path())

    def _header(self, rows: Rows) -> tuple[Row, Rows]:
        """The row of headers, and those below it."""
        first = list(itertools.islice(rows, _HEADER_WITHIN))
        if not first:
            raise UserError(f"{self._where}: there are no products in it; write a header and a row for each product.")
        number = next((number for number, row in enumerate(first) if self._is_header(row)), 0)
        return first[number], itertools.chain(first[number + 1 :], rows)

    def _is_header(self, row: Row) -> bool:
        headers = _named(row.cells)
        there = set(map(plain, headers))
        if any(plain(header) not in there for header in self._wanted.headers.values() if header):
            return False
        return bool(self._completed(headers).header("sku"))

    def _completed(self, headers: Sequence[str]) -> Columns:
        given = self._wanted
        if not given.headers and self._mappings is not None:
            given = self._mappings.of(headers)
        return given.completed(headers)

    def _product(self, row: Row) -> Product | None:
        """The product of a row; None where something is wrong with it, which then is one of the problems."""
        found = self._wrong(row)
        if found:
            self._problems.append(Problem(row.number, *found))
            return None
        values = {name: _cell(row.cells, number) for name, number in self._fields.items()}
        self._rows_of[values["sku"]] = row.number
        tags = tuple(filter(None, map(str.strip, _TAGS.split(values.pop("tags", "")))))
        attributes = {name: value for name, number in self._attributes if (value := _cell(row.cells, number))}
        return Product(**values, tags=tags, attributes=attributes, row=row.number)

    def _wrong(self, row: Row) -> tuple[str, str] | None:
        """The column of what is wrong with a row, and the sentence."""
        if row.doubt:
            return "", f"This row {row.doubt}."
        surplus = [cell for cell in row.cells[len(self._headers) :] if cell]
        if surplus:
            return "", (
                f"This row has more cells than there are columns; the first one too many is {surplus[0][:80]!r}; put "
                "text that holds the delimiter in quotes."
            )
        for number, cell in enumerate(row.cells):
            if len(cell) > LONGEST_CELL:
                return self._headers[number], (
                    f"This cell has {len(cell)} characters, at most {LONGEST_CELL} are read; shorten it."
                )
        return self._wrong_sku(_cell(row.cells, self._fields["sku"])) or self._wrong_file(row)

    def _wrong_sku(self, sku: str) -> tuple[str, str] | None:
        column = self._columns.header("sku")
        if not sku:
            return column, "This row has no SKU; write one."
        if len(sku) > _LONGEST_SKU or not sku.isprintable():
            return column, f"{sku[:80]!r} cannot be a SKU; use at most {_LONGEST_SKU} printable characters."
        if sku in self._rows_of:
            return (
                column,
                f"The SKU {sku} stands in row {self._rows_of[sku]} already, which counts; remove one of them.",
            )
        return None

    def _wrong_file(self, row: Row) -> tuple[str, str] | None:
        for name in FILES:
            written = _cell(row.cells, self._fields[name]) if name in self._fields else ""
            sentence = self._file(written) if written else ""
            if sentence:
                return self._columns.header(name), sentence
        return None

    def _file(self, written: str) -> str:
        """Why a file that a row names cannot be used; empty where it can."""
        if addresses.is_address(written):
            return addresses.refusal(written, self._photos_from)
        if "\0" in written:
            return f"{written!r}: no file has such a name; correct it."
        path = Path(located(written, self._folder or Path()))
        if self._folder is None and not path.is_absolute():
            return f"{written} is no absolute path; write the whole path."
        try:
            if self._readable:
                path = self._readable(str(path))
            there = path.is_file()
        except UserError as error:
            return str(error)
        except (OSError, ValueError):
            there = False
        return "" if there else f"There is no file {written}; correct the path, which is relative to the list."


def _cell(cells: Sequence[str], number: int) -> str:
    return cells[number] if number < len(cells) else ""


def _named(cells: Sequence[str]) -> list[str]:
    """The names of columns: those without one and those with another's are numbered."""
    filled = len(cells)
    while filled and not cells[filled - 1]:
        filled -= 1
    if filled > MOST_COLUMNS:
        raise UserError(f"the list has {filled} columns, at most {MOST_COLUMNS} are read; leave some out.")
    names: dict[str, None] = {}
    for number, cell in enumerate(cells[:filled], 1):
        name = " ".join(cell.split()) or f"column {number}"
        names[name if name not in names else f"{name} (column {number})"] = None
    return list(names)
