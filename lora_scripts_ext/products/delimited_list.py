"""Product lists as delimited text: CSV and TSV in the dialects and encodings of caption tables."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from ..captions import delimited, text_file
from ..captions.text_file import Unknown
from ..errors import UserError
from . import columns
from .row import MOST_COLUMNS, Row, Rows

_DELIMITERS = ",;\t|"
_EXCEL = re.compile(r"sep=([,;\t|])[ \t]*(?:\r\n|\n|\r|\Z)", re.I)
_SAMPLE = 20
_REMEDY = "save it as UTF-8, or name its encoding, such as cp1252 or shift_jis"


def read(path: Path, encoding: str = "") -> Rows:
    """The rows of a file.

    Raises:
        UserError: its encoding is not known.
    """
    text = decoded(path, encoding)
    excel = _EXCEL.match(text)
    if excel:
        text = text[excel.end() :]
    return _rows(text, excel[1] if excel else _delimiter(text))


def decoded(path: Path, encoding: str = "") -> str:
    """The text of a file in UTF-8, UTF-16, clearly Chinese GBK or, where it is none of them, ``encoding``.

    Raises:
        UserError: there is no such encoding, or the file is in another one.
    """
    try:
        return text_file.read_text(path, encoding)
    except LookupError:
        raise UserError(f"encoding: there is no encoding {encoding!r}; write for example cp1252 or gbk.") from None
    except Unknown as error:
        raise UserError(f"{path}: {error}; {_REMEDY}.") from error


def _rows(text: str, delimiter: str) -> Rows:
    for number, record in enumerate(delimited.records(text, delimiter), 1):
        cells = [field.value.strip() for field in record.fields]
        if len(cells) > MOST_COLUMNS:
            raise UserError(f"row {number} has {len(cells)} columns; a product list has at most {MOST_COLUMNS}.")
        if any(cells):
            yield Row(number, cells)


def _delimiter(text: str) -> str:
    """The delimiter by which the rows at the beginning name the most fields, else have the most cells."""
    return max(_DELIMITERS, key=lambda one: _fitness(text, one))


def _fitness(text: str, delimiter: str) -> tuple[int, int]:
    first = [
        [field.value for field in record.fields]
        for record in itertools.islice(delimited.records(text, delimiter), _SAMPLE)
    ]
    return max(map(columns.known, first), default=0), sum(map(len, first))
