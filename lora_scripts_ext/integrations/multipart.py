"""Bodies of type multipart/form-data (RFC 7578)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A file of a form."""

    name: str
    file_name: str
    content_type: str
    content: bytes


def packed(fields: Mapping[str, str] | Iterable[tuple[str, str]], file: Part) -> tuple[bytes, str]:
    """A form's body, with the file last, and its content type."""
    boundary = secrets.token_hex(16)
    listed = fields.items() if isinstance(fields, Mapping) else fields
    pieces = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'.encode()
        for name, value in listed
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(file.name)}"; '
        f'filename="{_quoted(file.file_name)}"\r\nContent-Type: {file.content_type}\r\n\r\n'
    )
    body = b"".join([*pieces, head.encode(), file.content, f"\r\n--{boundary}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={boundary}"


def _quoted(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
