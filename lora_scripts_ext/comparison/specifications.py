"""Rows of specifications from a table: what is compared, the left product's value, the right one's."""

from __future__ import annotations

from pathlib import Path

from ..captions import delimited, text_file
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


def _fitting(text: str, delimiter: str) -> int:
    """How many rows have as many fields as they need."""
    return sum(len(record.fields) == _COLUMNS for record in delimited.records(text, delimiter) if record)
