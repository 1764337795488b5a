"""Text as people's tools save it: which encoding it is in, or that it is unknown."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from . import chinese, words

REMEDY = "save it as UTF-8, or name its encoding (caption_encoding, --encoding), such as cp1252 or shift_jis"
ENCODING_HELP = "encoding of caption files that are not UTF-8, UTF-16 or clearly Chinese GBK, such as cp1252"
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CHINESE = ("gbk", "gb18030")
# bytes; in a longer text no Chinese is valid UTF-8
_SHORT = 40


class Unknown(ValueError):
    """The encoding is not known; the text goes after the file's name: where that shows, and what to do."""


@dataclass(frozen=True)
class Text:
    """A decoded file.

    Attributes:
        text: without the byte-order mark.
        encoding: Python's name of it.
        mark: the byte-order mark at its beginning.
    """

    text: str
    encoding: str = "utf-8"
    mark: bytes = b""

    def encode(self, text: str) -> bytes:
        """Another text in the same encoding.

        Raises:
            UnicodeEncodeError: the encoding has no such character.
        """
        return self.mark + text.encode(self.encoding)


def check(encoding: str) -> None:
    """Refuse the name of an encoding that there is not.

    Raises:
        UserError: Python knows no text encoding of this name.
    """
    try:
        "a".encode(encoding or "utf-8")
    except LookupError as error:
        raise UserError(
            f"caption_encoding: there is no encoding {encoding!r}; write for example cp1252 or gbk."
        ) from error


def read(path: Path, encoding: str = "") -> Text:
    """Decode a file: UTF-8, UTF-16, else ``encoding`` or, without one, GBK where it is clearly Chinese.

    Raises:
        Unknown: it is none of them.
        OSError: it cannot be read.
    """
    return decode(path.read_bytes(), encoding)


def read_text(path: Path, encoding: str = "") -> str:
    """As :func:`read`, only the text."""
    return read(path, encoding).text


def decode(content: bytes, encoding: str = "") -> Text:
    """As :func:`read`, for the bytes of a file."""
    text = _marked(content) or _utf8(content) or _utf16(content)
    strange = _strange(content, text.text) if text and not text.mark else ""
    if encoding and (strange or text is None):
        text = _named(content, encoding)
    elif strange:
        raise Unknown(f"can be read as UTF-8 perhaps by chance only: it would say {strange[:20]!r}")
    text = text or _gbk(content)
    if text is None:
        raise Unknown(f"{_line_of(content)} is neither UTF-8, UTF-16 nor clearly Chinese GBK")
    if "\0" in text.text:
        raise Unknown("is not text: it holds zero bytes")
    return text


def shared_encoding(contents: Iterable[bytes]) -> str:
    """The encoding of files too short to show it one by one, such as captions of a word: Chinese in GBK if they are so
    together, else empty."""
    together = b"\n".join(content for content in contents if not _is_unicode(content))
    text = _gbk(together)
    return text.encoding if text else ""


def _is_unicode(content: bytes) -> bool:
    try:
        return decode(content).encoding not in _CHINESE
    except Unknown:
        return False


def _strange(content: bytes, text: str) -> str:
    """A word by which a text seems to be UTF-8 by chance only: such as nobody writes, or one that is Chinese in GBK."""
    if len(content) > _SHORT or text.isascii():
        return words.odd(text)
    return words.odd(text) or (text.strip() if _gbk(content) else "")


def _marked(content: bytes) -> Text | None:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            try:
                return Text(content[len(mark) :].decode(encoding), encoding, mark)
            except UnicodeDecodeError as error:
                raise Unknown(f"begins as {encoding.upper()} but is damaged") from error
    return None


def _utf8(content: bytes) -> Text | None:
    if b"\0" in content:
        return None
    try:
        return Text(content.decode("utf-8"))
    except UnicodeDecodeError:
        return None


def _utf16(content: bytes) -> Text | None:
    """Without a mark: zero bytes are then only at even or only at odd offsets, those of the Latin characters."""
    zeros = {offset % 2 for offset, byte in enumerate(content) if byte == 0}
    if len(zeros) != 1 or len(content) % 2:
        return None
    encoding = "utf-16-le" if zeros == {1} else "utf-16-be"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return None
    return Text(text, encoding) if all(char.isprintable() or char in "\r\n\t\u3000" for char in text) else None


def _gbk(content: bytes) -> Text | None:
    """What Chinese Windows writes; only what decodes to Chinese beyond doubt and would be written back as it was."""
    for encoding in _CHINESE:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return Text(text, encoding) if chinese.plausible(text) and text.encode(encoding) == content else None
    return None


def _named(content: bytes, encoding: str) -> Text:
    try:
        return Text(content.decode(encoding), encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Unknown(f"line {line} is neither UTF-8 nor {encoding}, as it was named") from error


def _line_of(content: bytes) -> str:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"line {content[: error.start].count(bytes([10])) + 1}"
    return "it"
