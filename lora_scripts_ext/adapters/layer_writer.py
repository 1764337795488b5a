"""A LoRA file written layer by layer, as kohya's are: whole or not at all."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .. import finite
from ..errors import UserError
from ..files import replacing
from ..models.safetensors_file import Shape
from ..models.safetensors_writer import Entry, Writer
from .low_rank import Product

_HASHES = ("sshs_model_hash", "modelspec.hash_sha256")
#: entries of a file's metadata that a change of its weights makes wrong
STALE = (*_HASHES, "sshs_legacy_hash", "lora_adapter_metadata", "modelspec.thumbnail")


@dataclass(frozen=True)
class Shapes:
    """Of a layer's matrices."""

    down: Shape
    up: Shape


class LayerWriter:
    """Writes the layers that were announced, in any order."""

    def __init__(self, path: Path, writer: Writer, shapes: Mapping[str, Shapes], dtype: torch.dtype) -> None:
        self._path, self._writer, self._shapes, self._dtype = path, writer, shapes, dtype

    def write(self, key: str, product: Product) -> Product:
        """Write a layer; returns it as it is in the file, rounded.

        Raises:
            UserError: a value is too large for the precision of the file.
        """
        shapes = self._shapes[key]
        up = self._stored(key, product.up.reshape(shapes.up))
        down = self._stored(key, product.down.reshape(shapes.down))
        self._writer.write(f"{key}.alpha", torch.tensor(float(shapes.down[0])))
        self._writer.write(f"{key}.lora_down.weight", down)
        self._writer.write(f"{key}.lora_up.weight", up)
        return Product(up.double().flatten(1), down.double().flatten(1))

    def _stored(self, key: str, tensor: Tensor) -> Tensor:
        stored = tensor.to(self._dtype)
        if not math.isfinite(finite.largest(stored)):
            raise UserError(
                f"{self._path}: not written, the weights of {key} are too large for this precision; choose fp32 or "
                "bf16."
            )
        return stored


@contextmanager
def writing(
    path: Path, shapes: Mapping[str, Shapes], dtype: torch.dtype, metadata: Mapping[str, str]
) -> Iterator[LayerWriter]:
    """A new file with layers of these ``shapes``, by kohya key; each of them has to be written within the context.

    Every layer's alpha is its rank: the file's effect is ``up · down``.

    Raises:
        UserError: there is such a file already.
    """
    require_new(path)
    entries = {f"{key}.alpha": Entry.of(torch.float32, ()) for key in shapes}
    for key, one in shapes.items():
        entries[f"{key}.lora_down.weight"] = Entry.of(dtype, one.down)
        entries[f"{key}.lora_up.weight"] = Entry.of(dtype, one.up)
    unknown = dict(zip(_HASHES, ("0" * 64, "0x" + "0" * 64), strict=True))
    with replacing(path) as temporary, Writer(temporary, entries, {**metadata, **unknown}) as writer:
        yield LayerWriter(path, writer, shapes, dtype)
        digest = writer.data_sha256()
        writer.replace_metadata(**dict(zip(_HASHES, (digest, f"0x{digest}"), strict=True)))


def require_new(path: Path, *, folder: bool = False) -> None:
    """Refuse the path of a file, or of a ``folder``, that is there.

    Raises:
        UserError: it is, or the name of a file is none of a safetensors file.
    """
    if not folder and path.suffix.lower() != ".safetensors":
        raise UserError(f"{path}: the result is a .safetensors file; give it a name that ends so.")
    if path.exists():
        raise UserError(f"{path}: there is such a file already; choose another name, nothing is overwritten.")


def titled(metadata: Mapping[str, str], path: Path) -> dict[str, str]:
    """The metadata for a file called so, written now, without what its weights make wrong."""
    now = datetime.datetime.fromtimestamp(time.time(), datetime.timezone.utc).isoformat(timespec="seconds")
    kept = {key: value for key, value in metadata.items() if key not in STALE}
    return {**kept, "ss_output_name": path.stem, "modelspec.title": path.stem, "modelspec.date": now}
