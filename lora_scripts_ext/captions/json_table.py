"""Captions in JSON: a line for each image (Hugging Face's metadata.jsonl), a list of such objects, or an object of
images (kohya's ``{"path": {"caption": ..., "tags": ...}}``); and how to change one caption and no other byte."""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from . import columns, delimited
from .caption import parts, tidy
from .row import Row
from .text_file import Text

_NOT_SPACE = re.compile(r"[^ \t\r\n\ufeff]")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class _Value:
    """A JSON value and where it stands in the text."""

    value: Any
    start: int
    end: int


@dataclass(frozen=True)
class _Entry:
    """What a file says of an image: its name, the values that make up its caption by key, the whole value."""

    file: str
    caption: Mapping[str, _Value]
    value: _Value
    members: Mapping[str, _Value]


class Records:
    """The captions of a JSON file.

    Attributes:
        rows: of images, in the order of the file.
        warnings: sentences on what is not used.
    """

    def __init__(self, path: Path, text: Text) -> None:
        """Parse a file's text.

        Raises:
            UserError: it is not JSON, or of another shape.
        """
        self.warnings: list[str] = []
        self._path = path
        self._text = text.text
        self._lines = [match.start() for match in re.finditer("\n", text.text)]
        self._keys: tuple[str, str] | None = None
        try:
            self._kind, self._entries = self._parsed()
        except (ValueError, RecursionError) as error:
            line = self._line(error.pos) if isinstance(error, json.JSONDecodeError) else 1
            raise UserError(f"{path}: line {line} is not JSON ({error}); correct it.") from error
        if self._kind != "object" and self._entries and self._keys is None:
            keys = ", ".join(self._entries[0].members)
            raise UserError(f"{path}: it has no captions, only the keys {keys}; name one of them text or caption.")
        self.rows = tuple(self._row(entry) for entry in self._entries)

    @property
    def described(self) -> str:
        """How the file is parsed, for a person."""
        keys = ", ".join(self._entries[0].members) if self._entries else ""
        kinds = {"lines": "a JSON object a line", "list": "a list of JSON objects", "object": "a JSON object of images"}
        return kinds[self._kind] + (f" with the keys {keys}" if keys else "")

    def edited(self, changes: Mapping[int, str], new: Sequence[tuple[str, str]]) -> str:
        """The whole text with the captions of some rows changed, by index in ``rows``, and ``new`` images
        (name, caption) at its end. Everything else stays as it is written."""
        text = self._text
        for index in sorted(changes, reverse=True):
            if changes[index] != self.rows[index].caption:
                text = self._changed(text, self._entries[index], changes[index])
        return self._with_new(text, new) if new else text

    def _parsed(self) -> tuple[str, list[_Entry]]:
        text, start = self._text, self._skip(0)
        if start == len(text):
            return ("lines" if self._path.suffix.lower() != ".json" else "object"), []
        if text[start] == "[":
            return "list", [self._of_object(value) for value in _items(text, start)]
        first = _value(text, start)
        if not isinstance(first.value, dict):
            raise UserError(f"{self._path}: it must hold JSON objects, one for each image.")
        named = any(columns.plain(key) in columns.FILES and isinstance(first.value[key], str) for key in first.value)
        if self._skip(first.end) < len(text) or (named and not any(map(columns.looks_like_image, first.value))):
            return "lines", [self._of_object(value) for value in _values(text, start)]
        return "object", [self._of_member(key, value) for key, value in _members(text, start).items()]

    def _of_object(self, value: _Value) -> _Entry:
        """``{"file_name": ..., "text": ...}``"""
        if not isinstance(value.value, dict):
            raise UserError(f"{self._path}: line {self._line(value.start)} is not a JSON object of one image.")
        members = _members(self._text, value.start)
        names = list(members)
        file = columns.file_column(names, [[str(members[name].value) for name in names]])
        caption_columns = columns.caption_columns(names, file)
        if file is None:
            raise UserError(
                f"{self._path}: line {self._line(value.start)} names no image, only the keys {', '.join(names)}; name "
                "one of them file_name."
            )
        if len(caption_columns) > 1 and not self.warnings:
            used, others = names[caption_columns[0]], ", ".join(names[column] for column in caption_columns[1:])
            self.warnings.append(f"{self._path.name}: {used} is the caption; {others} is not used.")
        if caption_columns and self._keys is None:
            self._keys = names[file], names[caption_columns[0]]
        caption = {names[caption_columns[0]]: members[names[caption_columns[0]]]} if caption_columns else {}
        return _Entry(str(members[names[file]].value), caption, value, members)

    def _of_member(self, key: str, value: _Value) -> _Entry:
        """``"path": {"caption": ..., "tags": ...}`` or ``"path": "caption"``"""
        if not isinstance(value.value, dict):
            return _Entry(key, {"": value}, value, {})
        members = _members(self._text, value.start)
        caption: dict[str, _Value] = {name: members[name] for name in ("caption", "tags") if name in members}
        if not caption:
            names = list(members)
            caption = {names[column]: members[names[column]] for column in columns.caption_columns(names, None)[:1]}
        return _Entry(key, caption, value, members)

    def _row(self, entry: _Entry) -> Row:
        texts = [_text(value.value) for value in entry.caption.values()]
        doubt = "has a caption that is not text; write it as text" if None in texts else ""
        caption = "" if doubt else ", ".join(filter(None, map(tidy, filter(None, texts))))
        return Row(_writable(entry.file).strip(), caption, self._line(entry.value.start), doubt)

    def _changed(self, text: str, entry: _Entry, caption: str) -> str:
        """One caption changed. Of caption and tags, which are one caption together, the tags stay where it ends so."""
        values = list(entry.caption.items())
        if not values:
            return self._inserted(text, entry, caption)
        new = dict.fromkeys((name for name, _ in values), "")
        tags = tidy(_text(values[-1][1].value) or "") if len(values) > 1 else ""
        if tags and caption.endswith(f", {tags}"):
            new = {values[0][0]: caption.removesuffix(f", {tags}")}
        else:
            new[values[0][0]] = caption
        for name, value in reversed(values):
            if name in new:
                replacement: Any = parts(new[name]) if isinstance(value.value, list) else new[name]
                text = text[: value.start] + self._dumped(replacement) + text[value.end :]
        return text

    def _inserted(self, text: str, entry: _Entry, caption: str) -> str:
        key = self._keys[1] if self._keys else "caption"
        last = max((value.end for value in entry.members.values()), default=entry.value.start + 1)
        comma = ", " if entry.members else ""
        return f"{text[:last]}{comma}{self._dumped(key)}: {self._dumped(caption)}{text[last:]}"

    def _with_new(self, text: str, new: Sequence[tuple[str, str]]) -> str:
        end = delimited.line_end(text)
        if self._kind == "lines":
            text += end if text.strip() and not text.endswith(("\n", "\r")) else ""
            return text + "".join(self._object(*one) + end for one in new)
        entries = [self._object(*one) if self._kind == "list" else self._member(*one) for one in new]
        if not text.strip():
            return "{" + end + f",{end}".join(entries) + end + "}" + end
        close = text.rindex("]" if self._kind == "list" else "}")
        last = len(text[:close].rstrip())
        gap = self._gap()
        comma = "," if self._entries else ""
        return text[:last] + comma + gap + f",{gap}".join(entries) + text[last:]

    def _gap(self) -> str:
        """What stands before an entry: the line end and indentation of the first one."""
        start = self._skip(0) + 1
        return self._text[start : self._skip(start)] or " "

    def _object(self, name: str, caption: str) -> str:
        file, key = self._keys or ("file_name", "text")
        return f"{{{self._dumped(file)}: {self._dumped(name)}, {self._dumped(key)}: {self._dumped(caption)}}}"

    def _member(self, name: str, caption: str) -> str:
        """A new image as the others are: its name with or without extension, its caption bare or in an object."""
        if self._entries and not any(columns.looks_like_image(entry.file) for entry in self._entries):
            name = name[: -len(Path(name).suffix)] if Path(name).suffix else name
        bare = self._entries and all("" in entry.caption for entry in self._entries)
        content = self._dumped(caption) if bare else f'{{"caption": {self._dumped(caption)}}}'
        return f"{self._dumped(name)}: {content}"

    def _dumped(self, value: Any) -> str:
        """JSON as the file writes it: with escapes where it has them and nothing but ASCII."""
        return json.dumps(value, ensure_ascii=self._text.isascii() and "\\u" in self._text)

    def _skip(self, position: int) -> int:
        return _after_space(self._text, position)

    def _line(self, position: int) -> int:
        return bisect.bisect_left(self._lines, position) + 1


def _text(value: Any) -> str | None:
    """A caption: text, nothing, or a list of tags; None where it is something else."""
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return value if isinstance(value, str) and _writable(value) == value else None


def _writable(value: str) -> str:
    """A string without zero bytes and half characters, which JSON's escapes can give and no file can hold."""
    return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _value(text: str, start: int) -> _Value:
    value, end = _DECODER.raw_decode(text, start)
    return _Value(value, start, end)


def _values(text: str, start: int) -> Iterator[_Value]:
    """Values one after the other."""
    while start < len(text):
        one = _value(text, start)
        yield one
        start = _after_space(text, one.end)


def _items(text: str, start: int) -> Iterator[_Value]:
    """The values of a list that begins at ``start``."""
    position = _after_space(text, start + 1)
    while text[position : position + 1] != "]":
        one = _value(text, position)
        yield one
        position = _after(text, _after_space(text, one.end), "]")


def _members(text: str, start: int) -> dict[str, _Value]:
    """The members of an object that begins at ``start``; of one that is there twice the last counts, as in JSON."""
    members: dict[str, _Value] = {}
    position = _after_space(text, start + 1)
    while text[position : position + 1] != "}":
        if text[position : position + 1] != '"':
            raise json.JSONDecodeError("a name in double quotes is missing", text, position)
        key = _value(text, position)
        position = _after_space(text, key.end)
        if text[position : position + 1] != ":":
            raise json.JSONDecodeError("a colon is missing", text, position)
        one = _value(text, _after_space(text, position + 1))
        members[key.value] = one
        position = _after(text, _after_space(text, one.end), "}")
    return members


def _after_space(text: str, position: int) -> int:
    match = _NOT_SPACE.search(text, position)
    return match.start() if match else len(text)


def _after(text: str, position: int, close: str) -> int:
    """Where the next member begins, or the bracket that closes."""
    if text[position : position + 1] == ",":
        position = _after_space(text, position + 1)
    elif text[position : position + 1] != close:
        raise json.JSONDecodeError("a comma is missing", text, min(position, len(text)))
    return position
