"""The cells of a workbook's sheet: shared strings, formats of numbers and dates, and rows as they are parsed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from xml.etree.ElementTree import Element

from .row import LONGEST_CELL, MOST_COLUMNS, Row

_MOST_STRINGS = 3_000_000
# Formats that are dates without being written down (ECMA-376 part 1, 18.8.30), those of East Asia among them.
_DATES = frozenset({*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)})
# Of a format's code: text in quotes, escaped characters, colours and conditions say nothing; `[h]` is a time.
_NO_CODE = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!(?:h+|m+|s+)\])[^\]]*\]', re.I)
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_REFERENCE = re.compile(r"([A-Z]{1,3})\d*")
_FIRST_DAY, _FIRST_DAY_1904 = datetime(1899, 12, 30), datetime(1904, 1, 1)
_LAST_DAY = 2_958_466
_GENERAL = ""


class SharedStrings:
    """The texts that cells name by their number, as a target of an XMLParser.

    Attributes:
        texts: in their order, without the readings of Japanese characters.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._pieces: list[str] = []
        self._is_text = self._is_reading = False

    def start(self, tag: str, _: dict[str, str]) -> None:
        """See :class:`xml.etree.ElementTree.XMLParser`."""
        name = tag.rpartition("}")[2]
        if name == "si":
            self._pieces = []
        elif name == "rPh":
            self._is_reading = True
        self._is_text = name == "t" and not self._is_reading

    def end(self, tag: str) -> None:
        """See :class:`xml.etree.ElementTree.XMLParser`."""
        name = tag.rpartition("}")[2]
        self._is_text = False
        if name == "rPh":
            self._is_reading = False
        elif name == "si":
            if len(self.texts) == _MOST_STRINGS:
                raise ValueError(f"more than {_MOST_STRINGS} texts")
            self.texts.append(unescaped("".join(self._pieces)))

    def data(self, text: str) -> None:
        """See :class:`xml.etree.ElementTree.XMLParser`."""
        if self._is_text:
            self._pieces.append(text)


class Formats:
    """How numbers of cells are shown, by the number of their style."""

    def __init__(self, styles: Element | None, dated_1904: bool) -> None:
        """Of the root of ``styles.xml``."""
        self._first_day = _FIRST_DAY_1904 if dated_1904 else _FIRST_DAY
        codes: dict[str, str] = {}
        self._codes: list[str] = []
        for element in styles.iter() if styles is not None else ():
            name = element.tag.rpartition("}")[2]
            if name == "numFmt":
                codes[element.get("numFmtId", "")] = element.get("formatCode", "")
            elif name == "cellXfs":
                self._codes = [_code(one.get("numFmtId", "0"), codes) for one in element]

    def shown(self, value: str, style: str) -> str:
        """A number of a cell, as text.

        Raises:
            ValueError: it is no number.
        """
        code = self._codes[int(style)] if style else _GENERAL
        if code == "date":
            return self._date(float(value))
        if value.isascii() and value.isdigit():
            plain = value
        else:
            number = float(value)
            if not math.isfinite(number):
                raise ValueError(f"{value} is no number")
            # Excel keeps 15 digits: what is stored as 0.30000000000000004 is shown as 0.3.
            plain = format(Decimal(f"{number:.15g}"), "f")
        return plain.zfill(len(code)) if code else plain

    def _date(self, days: float) -> str:
        if not 0 <= days < _LAST_DAY:
            raise ValueError(f"{days} is no date")
        moment = self._first_day + timedelta(seconds=round(days * 86_400))
        if days < 1:
            return f"{moment:%H:%M:%S}"
        if self._first_day == _FIRST_DAY and days < 61:
            # Excel takes 1900 for a leap year: before its 29 February every day has a number that is one too small.
            moment += timedelta(days=1)
        return str(moment) if moment.time() != datetime.min.time() else str(moment.date())


class SheetRows:
    """The rows of a sheet, as a target of an XMLParser."""

    def __init__(self, strings: Sequence[str], formats: Formats) -> None:
        self._strings = strings
        self._formats = formats
        self._ready: list[Row] = []
        self._number = 0
        self._cells: list[str] = []
        self._doubt = ""
        self._kind = self._style = ""
        self._column = -1
        self._pieces: list[str] = []
        self._is_value = self._is_reading = self._is_formula = False

    def taken(self) -> Iterator[Row]:
        """The rows that are complete, each once."""
        ready, self._ready = self._ready, []
        yield from ready

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """See :class:`xml.etree.ElementTree.XMLParser`."""
        name = tag.rpartition("}")[2]
        if name == "c":
            self._kind, self._style = attributes.get("t", "n"), attributes.get("s", "")
            self._column = _column(attributes.get("r", ""), self._column + 1)
            self._pieces, self._is_formula = [], False
        elif name == "f":
            self._is_formula = True
        elif name == "v" or (name == "t" and not self._is_reading):
            self._is_value = True
        elif name == "rPh":
            self._is_reading = True
        elif name == "row":
            self._number = int(attributes.get("r", self._number + 1))
            self._cells, self._doubt, self._column = [], "", -1

    def end(self, tag: str) -> None:
        """See :class:`xml.etree.ElementTree.XMLParser`."""
        name = tag.rpartition("}")[2]
        self._is_value = False
        if name == "c" and self._pieces:
            text = self._text("".join(self._pieces))
            self._cells += [""] * (self._column + 1 - len(self._cells))
            self._cells[self._column] = text
        elif name == "c" and self._is_formula:
            self._doubt = "has a formula without its value; save the workbook once in a spreadsheet program"
        elif name == "rPh":
            self._is_reading = False
        elif name == "row" and (any(self._cells) or self._doubt):
            self._ready.append(Row(self._number, self._cells, self._doubt))

    def data(self, text: str) -> None:
        """See :class:`xml.etree.ElementTree.XMLParser`."""
        if self._is_value:
            self._pieces.append(text)

    def _text(self, value: str) -> str:
        if self._kind == "s":
            return self._strings[int(value)].strip()
        if self._kind in ("inlineStr", "str"):
            return unescaped(value).strip()
        if self._kind == "b":
            return "true" if value.strip() == "1" else "false"
        if self._kind == "e":
            self._doubt = f"has a formula that gives {value[:20]}; correct the formula, or write the value itself"
            return ""
        if self._kind == "d":
            return value.strip().replace("T", " ").removesuffix(" 00:00:00")
        return self._formats.shown(value.strip(), self._style)


def unescaped(text: str) -> str:
    """Text of a cell: ``_x000A_`` stands for a line end; without zero bytes and half characters."""
    plain = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text
    return plain.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")[: LONGEST_CELL + 1]


def _code(id: str, codes: dict[str, str]) -> str:
    """``date``, the zeros of a number with a fixed number of digits, or nothing."""
    code = codes.get(id, "")
    if not code:
        return "date" if id.isdigit() and int(id) in _DATES else _GENERAL
    bare = _NO_CODE.sub("", code.split(";")[0])
    if re.search("[ymdhs]", bare, re.I) and "general" not in bare.lower():
        return "date"
    return bare if re.fullmatch("0{2,30}", bare) else _GENERAL


def _column(reference: str, otherwise: int) -> int:
    """The number of a cell's column, from 0: ``AB7`` is 27."""
    match = _REFERENCE.match(reference)
    column = otherwise
    if match:
        column = 0
        for letter in match[1]:
            column = column * 26 + ord(letter) - ord("A") + 1
        column -= 1
    if column >= MOST_COLUMNS:
        raise ValueError(f"a cell in column {column + 1}, at most {MOST_COLUMNS} are read")
    return column
