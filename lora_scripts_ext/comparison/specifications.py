"""Rows of specifications from a table: what is compared, the left product's value, the right one's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..captions import delimited, text_file
from ..config_check import shown
from ..errors import UserError
from .card import Specification

_COLUMNS = 3
_DELIMITERS = (",", ";", "\t")
# First rows that only name the columns.
_HEADERS = {"label", "specification", "spec", "name", "attribute", "property", "参数", "规格", "项目", "属性"}


def read(path: Path) -> tuple[Specification, ...]:
    """The rows of a CSV or TSV with three columns, in any encoding that caption tables may have.

    Raises:
        UserError: it cannot be read, or a row has not three fields.
    """
    try:
        text = text_file.read_text(path)
    except OSError as error:
        raise UserError(f"{path}: this table cannot be read ({error.strerror}); check the path.") from error
    except text_file.Unknown as error:
        raise UserError(f"{path}: this file {error}; save it as UTF-8.") from error
    delimiter = max(_DELIMITERS, key=lambda one: _fitting(text, one))
    records = [record for record in delimited.records(text, delimiter) if record]
    rows = []
    for record in records:
        values = [field.value.strip() for field in record.fields]
        if len(values) != _COLUMNS:
            raise UserError(
                f"{path}, line {record.line}: this row has {len(values)} fields; write three: what is compared, and "
                "the left and the right product's value."
            )
        rows.append(Specification(*values))
    return tuple(rows[1:] if rows and rows[0].label.casefold() in _HEADERS else rows)


def of_rows(rows: object, where: str) -> tuple[Specification, ...]:
    """Rows that were handed in, each a list of three texts; ``where`` names their origin in errors.

    Raises:
        UserError: they are none.
    """
    if not isinstance(rows, list):
        raise UserError(f"{where}: specs is {shown(rows)}; give a list of rows, or the path of a CSV file.")
    found = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != _COLUMNS or not all(isinstance(one, str) for one in row):
            raise UserError(
                f"{where}: row {number} of specs is {shown(row)}; write three texts: what is compared, and the left "
                "and the right product's value."
            )
        found.append(Specification(*(one.strip() for one in row)))
    return tuple(found)


def of_attributes(left: Mapping[str, str], right: Mapping[str, str]) -> tuple[Specification, ...]:
    """A row for each attribute that either product has, those of the left one first."""
    return tuple(Specification(name, left.get(name, ""), right.get(name, "")) for name in {**left, **right})


def _fitting(text: str, delimiter: str) -> int:
    """How many rows have as many fields as they need."""
    return sum(len(record.fields) == _COLUMNS for record in delimited.records(text, delimiter) if record)
