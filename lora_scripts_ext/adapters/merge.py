"""Several LoRAs added up to one, and one brought to another rank, layer by layer.

The effect of the result is the weighted sum of the effects: kohya's ``svd_merge_lora.py`` and PEFT's
``add_weighted_adapter`` with ``cat`` or ``svd`` aim at the same. kohya's ``merge_lora.py`` adds the matrices one by one
instead, or, with ``--concat``, uses the squares of the weights: other LoRAs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..models.safetensors_file import Shape
from ..precision import DTYPES, name_of
from .layer_writer import Shapes, titled, writing
from .low_rank import Product
from .naming import kohya_names
from .opened import OpenedLora, opened
from .origin import kind_of_inputs

Progress = Callable[[int, int, str], None]
#: in a file's metadata: JSON of what it was made from
MADE_FROM = "lora_trainer.made_from"
_BY_NAME = {"F16": torch.float16, "BF16": torch.bfloat16}
_MOST_RANK = 4096
# Of the base model and the resolution: true of the result if it is true of all.
_SHARED = (
    "ss_base_model_version", "ss_v2", "ss_sd_model_name", "ss_sd_model_hash", "ss_new_sd_model_hash", "ss_clip_skip",
    "ss_zero_terminal_snr", "ss_v_parameterization", "ss_resolution", "modelspec.sai_model_spec",
    "modelspec.architecture", "modelspec.implementation", "modelspec.resolution", "modelspec.prediction_type",
    "modelspec.encoder_layer",
)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """What came of it.

    Attributes:
        path: of the new file.
        layers: how many it has.
        ranks: the smallest and the largest of them.
        precision: of its matrices: ``fp32``, ``fp16`` or ``bf16``.
        error: Frobenius norm of the difference from the exact sum, all layers together, over the norm of that sum;
            rounding to ``precision`` included.
        worst_layer: the layer with the largest error of its own, and that.
        worst_error: of that layer.
    """

    path: Path
    layers: int
    ranks: tuple[int, int]
    precision: str
    error: float
    worst_layer: str
    worst_error: float

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**vars(self), "path": str(self.path), "ranks": list(self.ranks)}


@dataclass(frozen=True)
class _Part:
    """A LoRA of the sum: its own keys by the name in the result."""

    lora: OpenedLora
    weight: float
    keys: Mapping[str, str]


def merge(
    loras: Sequence[tuple[Path, float]],
    out: Path,
    *,
    rank: int | None = None,
    precision: str = "",
    metadata: Mapping[str, str] | None = None,
    progress: Progress = lambda done, total, what: None,
) -> Made:
    """Write the sum of several LoRAs times their weights to a new file.

    Args:
        loras: files, or folders of PEFT or diffusers, of one kind of base model, each with its weight.
        out: must not exist.
        rank: None puts the ranks side by side, which is exact; else the nearest LoRA of this rank, layer by layer.
        precision: ``fp32``, ``fp16`` or ``bf16``; empty takes that of the files, fp32 where they differ.
        metadata: further entries of the file's metadata.
        progress: is called with layers done, all layers, what they are.

    Raises:
        UserError: a file cannot be read, they do not fit together, or ``out`` exists.
    """
    if not loras:
        raise UserError("There is no LoRA to merge; name at least one file.")
    for path, weight in loras:
        if not math.isfinite(weight) or not weight:
            raise UserError(f"{path}: its weight is {weight:g}; give a number other than 0, or leave the file out.")
    with ExitStack() as stack:
        files = [(stack.enter_context(opened(path)), weight) for path, weight in loras]
        parts = _parts(files)
        complete = {**_shared(files), "ss_network_module": "networks.lora", **(metadata or {})}
        return _write(parts, out, complete, rank, precision, progress)


def resize(
    lora: Path,
    out: Path,
    rank: int,
    *,
    precision: str = "",
    metadata: Mapping[str, str] | None = None,
    progress: Progress = lambda done, total, what: None,
) -> Made:
    """Write the nearest LoRA of another rank to a new file, with the metadata of the old one.

    A layer whose rank is smaller already keeps that. kohya's ``resize_lora.py`` has the same effect.

    Args:
        lora: a file, or a folder of PEFT or diffusers.
        out: must not exist.
        rank: of the result.
        precision: as for :func:`merge`.
        metadata: further entries of the new file's.
        progress: as for :func:`merge`.

    Raises:
        UserError: the file cannot be read, or ``out`` exists.
    """
    with opened(lora) as file:
        complete = {**file.metadata, **(metadata or {})}
        return _write(_parts([(file, 1.0)]), out, complete, rank, precision, progress)


def _write(
    parts: Sequence[_Part], out: Path, metadata: Mapping[str, str], rank: int | None, precision: str, progress: Progress
) -> Made:
    if rank is not None and not 0 < rank <= _MOST_RANK:
        raise UserError(f"rank is {rank}; give a number from 1 to {_MOST_RANK}.")
    if precision and precision not in DTYPES:
        raise UserError(f"precision is {precision[:20]!r}; it is one of {', '.join(DTYPES)}.")
    dtype = DTYPES[precision] if precision else _dtype([part.lora for part in parts])
    shapes = {name: _shapes(name, parts, rank) for name in dict.fromkeys(key for part in parts for key in part.keys)}
    ranks = sorted({one.down[0] for one in shapes.values()})
    complete = titled({**metadata, **_network(ranks), MADE_FROM: _made_from(parts, rank)}, out)
    distances: dict[str, tuple[float, float]] = {}
    with writing(out, shapes, dtype, complete) as writer:
        for done, (name, one) in enumerate(shapes.items(), 1):
            exact = Product.sum(
                [(part.lora.layer(part.keys[name]), part.weight) for part in parts if name in part.keys]
            )
            result = exact if rank is None else exact.truncated(one.down[0])
            distances[name] = exact.squared_distance(writer.write(name, result)), exact.squared_norm()
            progress(done, len(shapes), "layers")
    worst = max(distances, key=lambda name: _relative(*distances[name]))
    return Made(
        path=out,
        layers=len(shapes),
        ranks=(ranks[0], ranks[-1]),
        precision=name_of(dtype),
        error=_relative(*(sum(column) for column in zip(*distances.values(), strict=True))),
        worst_layer=worst,
        worst_error=_relative(*distances[worst]),
    )


def _parts(files: Sequence[tuple[OpenedLora, float]]) -> list[_Part]:
    """The LoRAs with one naming of their layers.

    Raises:
        UserError: they are for different kinds of base models.
    """
    kinds = [kind_of_inputs({key: file.down_shape(key)[1] for key in file.keys()}) for file, _ in files]  # noqa: SIM118
    first = next((index for index, kind in enumerate(kinds) if kind), 0)
    for (file, _), kind in zip(files, kinds, strict=True):
        if kind and kind != kinds[first]:
            raise UserError(
                f"{file.path}: this LoRA is for {kind}, {files[first][0].path.name} for {kinds[first]}; merge only "
                "LoRAs of one kind of base model."
            )
    is_sdxl = kinds[first] == "Stable Diffusion XL" if kinds[first] else None
    keys = dict.fromkeys(key for file, _ in files for key in file.keys())  # noqa: SIM118
    names = kohya_names(keys, is_sdxl, files[0][0].path)
    return [_part(file, weight, names) for file, weight in files]


def _part(file: OpenedLora, weight: float, names: Mapping[str, str]) -> _Part:
    own = {names[key]: key for key in file.keys()}  # noqa: SIM118
    if len(own) < len(file.keys()):
        raise UserError(f"{file.path}: it holds a layer twice, under two names; choose another LoRA file.")
    return _Part(file, weight, own)


def _shapes(name: str, parts: Sequence[_Part], rank: int | None) -> Shapes:
    """Of a layer of the result.

    Raises:
        UserError: its layers do not fit together.
    """
    found = [(part.lora, part.keys[name]) for part in parts if name in part.keys]
    lora, key = found[0]
    down, up = lora.down_shape(key), lora.up_shape(key)
    for other, other_key in found[1:]:
        theirs = other.down_shape(other_key), other.up_shape(other_key)
        if math.prod(theirs[0][1:]) != math.prod(down[1:]) or theirs[1][0] != up[0]:
            raise UserError(
                f"{other.path}: its layer {name} has {_described(*theirs)}, that of {lora.path.name} "
                f"{_described(down, up)}; merge only LoRAs of one kind of base model."
            )
    total = sum(one.down_shape(own)[0] for one, own in found)
    new = total if rank is None else min(rank, total, math.prod(down[1:]), up[0])
    return Shapes((new, *down[1:]), (up[0], new, *([1, 1] if len(down) == 4 else [])))


def _described(down: Shape, up: Shape) -> str:
    return f"{math.prod(down[1:])} inputs and {up[0]} outputs"


def _dtype(loras: Sequence[OpenedLora]) -> torch.dtype:
    found = {_BY_NAME.get(name, torch.float32) for lora in loras for name in lora.dtypes()}
    return found.pop() if len(found) == 1 else torch.float32


def _relative(distance: float, norm: float) -> float:
    return math.sqrt(distance / norm) if norm else 0.0


def _shared(files: Sequence[tuple[OpenedLora, float]]) -> dict[str, str]:
    """What the metadata of all files say alike, and the tags of all of them."""
    values = {key: {file.metadata.get(key) for file, _ in files} for key in _SHARED}
    shared = {key: found.pop() for key, found in values.items() if len(found) == 1}
    tags: dict[str, Any] = {}
    for file, _ in files:
        tags |= _object(file.metadata.get("ss_tag_frequency", ""))
    texts = {key: value for key, value in shared.items() if value is not None}
    return {**texts, **({"ss_tag_frequency": json.dumps(tags, ensure_ascii=False)} if tags else {})}


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _network(ranks: Sequence[int]) -> dict[str, str]:
    size = str(ranks[0]) if len(ranks) == 1 else "Dynamic"
    return {"ss_network_dim": size, "ss_network_alpha": size, "ss_network_args": "{}"}


def _made_from(parts: Sequence[_Part], rank: int | None) -> str:
    files = [
        {
            "name": part.lora.path.stem,
            "weight": part.weight,
            **({"hash": known} if (known := part.lora.metadata.get("sshs_model_hash")) else {}),
        }
        for part in parts
    ]
    return json.dumps({"loras": files, "rank": rank}, ensure_ascii=False)
