"""Workbooks (XLSX, ECMA-376 part 1) as product lists: the cells of a sheet as a spreadsheet shows them, more or less.

Only what a product list needs is read, with the standard library alone. A workbook comes from others: what it may take
of memory is limited, and no XML with a document type, which could define entities, is read.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from ..errors import UserError
from .row import Rows
from .xlsx_cells import Formats, SharedStrings, SheetRows

# Bytes of a part when it is unpacked.
_LARGEST_PART = 512 * 1024 * 1024
_LARGEST_SMALL = 16 * 1024 * 1024
_MOST_PARTS = 10_000
_PIECE = 1 << 16
# What workbooks are in that have a password, and those of Excel before 2007.
_COMPOUND = b"\xd0\xcf\x11\xe0"


class _Target(Protocol):
    """What an XMLParser hands the parts of a document to."""

    def start(self, tag: str, attributes: dict[str, str], /) -> Any:
        """An element begins."""

    def end(self, tag: str, /) -> Any:
        """It ends."""

    def data(self, text: str, /) -> Any:
        """Text between them."""


class _Hostile(Exception):
    """XML that no spreadsheet writes; the text is the reason."""


def read(path: Path, sheet: str = "") -> Rows:
    """The rows of a sheet: the one of this name, else the first that is not hidden.

    Numbers are as they would be typed, dates ``2026-11-26`` or ``2026-11-26 14:30:00``, Booleans ``true`` and
    ``false``. A row with an error of a formula (``#N/A``) has a doubt.

    Raises:
        UserError: it is no workbook, has no such sheet, or is made to be harmful.
        OSError: it cannot be read.
    """
    with _sentences(path), zipfile.ZipFile(path) as packed:
        if len(packed.infolist()) > _MOST_PARTS:
            raise _Hostile(f"it has {len(packed.infolist())} parts")
        workbook = _related(packed, "", "officeDocument")
        if workbook is None:
            raise UserError(f"{path}: there is no workbook in it; save it as XLSX again.")
        part, dated_1904 = _sheet(packed, workbook, sheet, path)
        strings = SharedStrings()
        shared = _related(packed, workbook, "sharedStrings")
        if shared:
            for _ in _fed(packed, shared, strings, _LARGEST_PART):
                pass
        styles = _related(packed, workbook, "styles")
        formats = Formats(_tree(packed, styles) if styles else None, dated_1904)
        rows = SheetRows(strings.texts, formats)
        for _ in _fed(packed, part, rows, _LARGEST_PART):
            yield from rows.taken()


@contextmanager
def _sentences(path: Path) -> Iterator[None]:
    """Turns what is wrong with the file into a sentence."""
    try:
        yield
    except zipfile.BadZipFile as error:
        with path.open("rb") as file:
            compound = file.read(len(_COMPOUND)) == _COMPOUND
        if compound:
            raise UserError(
                f"{path}: this workbook has a password, or is one of Excel before 2007; save it as XLSX without a "
                "password."
            ) from error
        raise UserError(f"{path}: this is no workbook, or it is damaged; save it as XLSX again.") from error
    except (ParseError, ValueError, LookupError, RuntimeError, NotImplementedError, zlib.error, EOFError) as error:
        raise UserError(f"{path}: this workbook is damaged ({error}); save it as XLSX again.") from error
    except _Hostile as error:
        raise UserError(f"{path}: this is no workbook that a spreadsheet writes: {error}; it is not read.") from error


def _sheet(packed: zipfile.ZipFile, workbook: str, wanted: str, path: Path) -> tuple[str, bool]:
    """The part of a sheet, and whether the workbook counts its dates from 1904, as old ones of the Mac do."""
    root = _tree(packed, workbook)
    found = [element for element in root.iter() if _local(element.tag) == "sheet"]
    shown = [element for element in found if element.get("state", "visible") == "visible"] or found
    named = [element for element in found if element.get("name", "").casefold() == wanted.casefold()]
    chosen = (named if wanted else shown)[:1]
    if not chosen:
        names = ", ".join(element.get("name", "") for element in found)
        raise UserError(f"{path}: there is no sheet {wanted!r}; its sheets are {names or 'none'}.")
    id = next((value for key, value in chosen[0].attrib.items() if _local(key) == "id" and key != "id"), "")
    part = _relations(packed, workbook).get(id, ("", ""))[1]
    properties = next((element for element in root.iter() if _local(element.tag) == "workbookPr"), None)
    dated_1904 = properties is not None and properties.get("date1904", "0") in ("1", "true")
    return part, dated_1904


def _related(packed: zipfile.ZipFile, part: str, kind: str) -> str | None:
    """The part that another one names as its ``kind``; of the package itself where ``part`` is empty."""
    relations = _relations(packed, part).values()
    return next((target for type, target in relations if type.rpartition("/")[2] == kind), None)


def _relations(packed: zipfile.ZipFile, part: str) -> dict[str, tuple[str, str]]:
    """Type and target of what a part names, by id."""
    folder, name = posixpath.split(part)
    listed = posixpath.join(folder, "_rels", f"{name}.rels")
    if listed not in packed.NameToInfo:
        return {}
    return {
        element.get("Id", ""): (
            element.get("Type", ""),
            posixpath.normpath(posixpath.join("/", folder, element.get("Target", ""))).lstrip("/"),
        )
        for element in _tree(packed, listed)
    }


def _tree(packed: zipfile.ZipFile, part: str) -> Element:
    """A small part as a tree."""
    builder = TreeBuilder()
    for _ in _fed(packed, part, builder, _LARGEST_SMALL):
        pass
    return builder.close()


def _fed(packed: zipfile.ZipFile, part: str, target: _Target, largest: int) -> Iterator[None]:
    """Feed a part to ``target``, with a pause after each piece."""
    info = packed.getinfo(part)
    if info.file_size > largest:
        raise _Hostile(f"{part} has {info.file_size >> 20} MiB when it is unpacked")
    parser = XMLParser(target=_Guarded(target))
    with packed.open(info) as file:
        while piece := file.read(_PIECE):
            parser.feed(piece)
            yield
    parser.close()
    yield


class _Guarded:
    """A target that refuses document types."""

    def __init__(self, target: _Target) -> None:
        self.start, self.end, self.data = target.start, target.end, target.data

    def doctype(self, *_: Any) -> None:
        """Before anything of it is used."""
        raise _Hostile("its XML has a document type")

    def close(self) -> None:
        """Nothing is left to do."""


def _local(tag: str) -> str:
    return re.sub(r"^\{.*\}", "", tag)
