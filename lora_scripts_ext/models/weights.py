"""Safetensors files: tensors one by one, as a model names them."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .. import finite
from ..errors import UserError
from ..precision import name_of


@dataclass(frozen=True)
class Source:
    """Where a model's tensor comes from: a tensor of a file, and what to do to it (None: take it as it is).

    Attributes:
        below: further tensors of the files, whose rows follow those of the first.
    """

    name: str
    change: Callable[[Tensor], Tensor] | None = None
    below: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All tensors of the files that it takes."""
        return (self.name, *self.below)

    def take(self, *tensors: Tensor) -> Tensor:
        """The model's tensor, from the file's by the order of ``names``."""
        tensor = torch.cat(tensors) if self.below else tensors[0]
        return self.change(tensor) if self.change else tensor


def read_tensors(
    sources: Mapping[str, Source], files: Iterable[Path], device: torch.device, dtype: torch.dtype, part: str
) -> dict[str, Tensor]:
    """The state dict that ``sources`` describe, from ``files`` to ``device``, cast to ``dtype``.

    One tensor at a time is copied from the memory-mapped file, so there are never two copies of the model and nothing
    of it stays tied to the file. ``part`` is what errors call the model.

    Raises:
        UserError: a file is damaged or cut off, or holds values that are not finite or that ``dtype`` cannot hold.
    """
    users = defaultdict(list)
    for name, source in sources.items():
        for stored in source.names:
            users[stored].append(name)
    state, sizes = {}, {}
    pieces: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for path in files:
        with _opened(path) as file:
            for stored in [name for name in file.keys() if name in users]:  # noqa: SIM118 (no mapping)
                tensor = file.get_tensor(stored)
                sizes[stored] = path, finite.largest(tensor)
                for name in users[stored]:
                    source = sources[name]
                    pieces[name][stored] = tensor.to(device, dtype, copy=True) if source.below else tensor
                    if len(pieces[name]) == len(source.names):
                        ready = pieces.pop(name)
                        whole = source.take(*(ready[one] for one in source.names))
                        state[name] = whole.to(device, dtype, copy=not source.below).contiguous()
    _require_finite(sizes, dtype, part)
    return state


def _require_finite(sizes: Mapping[str, tuple[Path, float]], dtype: torch.dtype, part: str) -> None:
    """``sizes``: for each tensor its file and its largest absolute value."""
    bad = [(path, name) for name, (path, size) in sizes.items() if not math.isfinite(size)]
    if bad:
        path, name = bad[0]
        raise UserError(
            f"{path}: {len(bad)} of the {len(sizes)} tensors of the {part} hold NaN or infinity (the first is {name}); "
            "the file is damaged, or the merge or training that made it failed: download it again or take another "
            "version of it."
        )
    over = [(path, name, size) for name, (path, size) in sizes.items() if size > torch.finfo(dtype).max]
    if over:
        path, name, size = over[0]
        raise UserError(
            f"{path}: {len(over)} of the {len(sizes)} tensors of the {part} hold values that {name_of(dtype)} cannot "
            f"hold (up to {size:.3g} in {name}); set mixed_precision: bf16 or fp32."
        )


def take_all(sources: Mapping[str, Source], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict that ``sources`` describe, from ``tensors`` in memory."""
    return {name: source.take(*(tensors[one] for one in source.names)) for name, source in sources.items()}


def sha256(files: Iterable[Path]) -> str:
    """SHA-256 (hex) of the files' bytes, one after the other; the WebUI shows its first 10 digits for a checkpoint."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: this safetensors file cannot be read ({error}); it is damaged or in a precision that is not "
            "known here, download it again in fp16, bf16 or fp32."
        ) from error
