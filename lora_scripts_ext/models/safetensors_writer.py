"""A safetensors file written tensor by tensor: no more than the one at hand is in memory."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import torch
from torch import Tensor

from .safetensors_file import Shape

_CHUNK = 1 << 22
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class Entry:
    """A tensor that is going to be written: its dtype as the file names it (``F16``), shape and size in bytes."""

    dtype: str
    shape: Shape
    size: int

    @classmethod
    def of(cls, dtype: torch.dtype, shape: Shape) -> Entry:
        """A tensor of torch's."""
        return cls(_NAMES[dtype], shape, math.prod(shape) * dtype.itemsize)


class Writer:
    """A context in which the tensors are written, in any order; all of them have to be."""

    def __init__(self, temporary: Path, entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> None:
        """The tensors will lie in the file in the order of ``entries``.

        ``temporary``: the caller moves it to its place when it is whole.
        """
        self._metadata = dict(metadata)
        self._entries = dict(entries)
        self._left = set(entries)
        self._places: dict[str, int] = {}
        end = 0
        for name, entry in self._entries.items():
            self._places[name], end = end, end + entry.size
        self._file: BinaryIO = temporary.open("wb+")
        header = self._header()
        self._start = len(header)
        self._file.write(header)

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if error is None and self._left:
            raise RuntimeError(f"{len(self._left)} tensors were not written, such as {min(self._left)}")

    def write(self, name: str, tensor: Tensor) -> None:
        """Write a tensor, which has to be of the dtype and shape that were announced."""
        entry = self._entries[name]
        if (_NAMES.get(tensor.dtype), tuple(tensor.shape)) != (entry.dtype, entry.shape):
            raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, announced as {entry}")
        self._file.seek(self._start + self._places[name])
        self._file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        self._left.discard(name)

    def copy(self, name: str, source: BinaryIO, place: tuple[int, int]) -> None:
        """Copy a tensor's bytes as they are from ``place`` (first byte, byte after the last) in another file."""
        self._file.seek(self._start + self._places[name])
        source.seek(place[0])
        left = place[1] - place[0]
        while left and (chunk := source.read(min(left, _CHUNK))):
            self._file.write(chunk)
            left -= len(chunk)
        if left:
            raise OSError(f"{name} is cut off")
        self._left.discard(name)

    def data_sha256(self) -> str:
        """SHA-256 (hex) of the tensors' bytes, everything behind the header; all have to be written."""
        digest = hashlib.sha256()
        self._file.flush()
        self._file.seek(self._start)
        while chunk := self._file.read(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    def replace_metadata(self, **values: str) -> None:
        """Set entries of the metadata, each to a text of the length that it has."""
        self._metadata |= values
        header = self._header()
        if len(header) != self._start:
            raise ValueError("the header has another length now")
        self._file.seek(0)
        self._file.write(header)

    def _header(self) -> bytes:
        content: dict[str, object] = {"__metadata__": self._metadata} if self._metadata else {}
        for name, entry in self._entries.items():
            first = self._places[name]
            content[name] = {
                "dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [first, first + entry.size],
            }  # fmt: skip
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text
