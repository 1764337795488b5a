"""A safetensors file from the outside: what its header says, or what the file is instead."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError

Shape = tuple[int, ...]
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
# The library's own limit.
_LONGEST_HEADER = 100_000_000
_AGAIN = "download it again."
_PICKLE = "can run code when it is loaded; download the .safetensors version of this model, or convert it."
_ARCHIVE = "unpack it and name the .safetensors file that is in it."

# First bytes of what is often found under the name of a model.
_SIGNATURES = (
    (
        b"GGUF",
        "a GGUF file, whose weights are quantised; training needs the .safetensors version in fp16, bf16 or fp32.",
    ),
    (b"version https://git-lfs", f"a Git LFS pointer, not the model itself; run git lfs pull, or {_AGAIN}"),
    (b"Rar!", f"a RAR archive; {_ARCHIVE}"),
    (b"7z\xbc\xaf", f"a 7z archive; {_ARCHIVE}"),
    (b"\x89PNG", "an image; give a .safetensors file."),
    (b"\xff\xd8\xff", "an image; give a .safetensors file."),
    (b"\x89HDF", "an HDF5 file; download the .safetensors version of this model."),
    (b"%PDF", "a PDF; give a .safetensors file."),
)


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself: shapes, dtypes (``F16``, ``F8_E4M3``) and places in the file (first byte,
    byte after the last) by tensor name, and its metadata."""

    shapes: dict[str, Shape]
    dtypes: dict[str, str]
    metadata: dict[str, str]
    places: dict[str, tuple[int, int]]


def read_header(path: Path) -> Header:
    """Read a file's header; the tensors stay on disk.

    Raises:
        UserError: there is no such file, it is something else than a safetensors file, or it is damaged or cut off.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; check the path.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(256)
            _require_safetensors(path, start)
            file.seek(8)
            length = int.from_bytes(start[:8], "little")
            text = file.read(length) if length <= min(size, _LONGEST_HEADER) else b""
    except OSError as error:
        raise UserError(f"{path}: the file cannot be read ({error.strerror}); check disk and permissions.") from error
    entries = _entries(path, text)
    expected = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if size < expected:
        raise UserError(
            f"{path}: the file is cut off, {size:,} of its {expected:,} bytes are there; the download was interrupted, "
            f"{_AGAIN}"
        )
    return _header(entries, _metadata(text), 8 + length)


def _require_safetensors(path: Path, start: bytes) -> None:
    """Refuse what is known by the ``start`` of the file, or a pickle by its name."""
    if not start:
        raise UserError(f"{path}: the file is empty; the download failed, {_AGAIN}")
    for signature, what in _SIGNATURES:
        if start.startswith(signature):
            raise UserError(f"{path}: this is {what}")
    if path.suffix.lower() in PICKLES:
        raise UserError(f"{path}: a {path.suffix} file is a pickle and {_PICKLE}")
    if start.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")) or (
        start.startswith(b"PK") and b"data.pkl" in start
    ):
        raise UserError(f"{path}: this is a pickle (.ckpt or .pt) under another name and {_PICKLE}")
    if start.startswith(b"PK"):
        raise UserError(f"{path}: this is a zip archive; {_ARCHIVE}")
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise UserError(
            f"{path}: this is a web page, not a model; the site wanted a login or a click: {_AGAIN[:-1]} in a browser."
        )
    if start[:8].isascii() and start[:8].decode("ascii").isprintable():
        raise UserError(
            f"{path}: this is a text file, not a model ({start[:40].decode('ascii', 'replace')!r}); {_AGAIN}"
        )


def _entries(path: Path, text: bytes) -> dict[str, dict[str, Any]]:
    """The header's tensors, each with ``dtype``, ``shape`` and ``data_offsets``."""
    try:
        content = json.loads(text)
        entries = {name: entry for name, entry in content.items() if name != "__metadata__"}
        if all(
            isinstance(entry["dtype"], str)
            and all(isinstance(number, int) for number in (*entry["shape"], *entry["data_offsets"]))
            and len(entry["data_offsets"]) == 2
            for entry in entries.values()
        ):
            return entries
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        pass
    raise UserError(f"{path}: this is not a whole safetensors file; the download was cut off or damaged, {_AGAIN}")


def _metadata(text: bytes) -> dict[str, str]:
    metadata = json.loads(text).get("__metadata__")
    if not isinstance(metadata, dict):
        return {}
    return {name: value for name, value in metadata.items() if isinstance(value, str)}


def _header(entries: dict[str, dict[str, Any]], metadata: dict[str, str], start: int) -> Header:
    return Header(
        shapes={name: tuple(entry["shape"]) for name, entry in entries.items()},
        dtypes={name: entry["dtype"] for name, entry in entries.items()},
        metadata=metadata,
        places={
            name: (start + entry["data_offsets"][0], start + entry["data_offsets"][1])
            for name, entry in entries.items()
        },
    )
