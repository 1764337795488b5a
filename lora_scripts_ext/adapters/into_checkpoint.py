"""LoRAs merged into a base model: ``W' = W + weight · alpha / rank · up · down``, as a new checkpoint.

kohya's ``merge_lora.py --sd_model`` and diffusers' ``fuse_lora`` compute the same. The tensors that no LoRA changes are
copied byte by byte; the others are read one at a time, added to in float32 and rounded to the precision they had.
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .. import files, finite
from ..errors import UserError
from ..models.safetensors_file import Header, read_header
from ..models.safetensors_writer import Entry, Writer
from .checkpoint_layers import CheckpointLayers, Place, file_layers, folder_layers
from .layer_writer import STALE, require_new
from .low_rank import Product
from .merge import MADE_FROM
from .opened import OpenedLora, opened
from .origin import kind_of_inputs

Progress = Callable[[int, int, str], None]
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


@dataclass(frozen=True)
class Merged:
    """What came of it.

    Attributes:
        path: of the new checkpoint.
        family: of the base model, as a title.
        layers: how many of its layers were changed, counted once for each LoRA.
        rounding: Frobenius norm of what the checkpoint's precision lost of the change, over that of the change.
    """

    path: Path
    family: str
    layers: int
    rounding: float

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**vars(self), "path": str(self.path)}


@dataclass(frozen=True)
class _Change:
    """What is added to a tensor of the checkpoint, or to a view of it."""

    lora: OpenedLora
    key: str
    weight: float
    place: Place


_Changes = Mapping[Path, Mapping[str, Sequence[_Change]]]


def into_checkpoint(
    checkpoint: Path,
    loras: Sequence[tuple[Path, float]],
    out: Path,
    *,
    metadata: Mapping[str, str] | None = None,
    progress: Progress = lambda done, total, what: None,
) -> Merged:
    """Write a copy of ``checkpoint`` that has the effect of the LoRAs, each times its weight.

    Args:
        checkpoint: a single file in the original layout, where a VAE or text encoders that no LoRA changes may be
            missing, or a diffusers folder.
        loras: files, or folders of PEFT or diffusers.
        out: the new file or folder; must not exist.
        metadata: further entries of the new files'.
        progress: is called with tensors done, all tensors, what they are.

    Raises:
        UserError: a file cannot be used, a layer of a LoRA is not in the checkpoint, or ``out`` exists.
    """
    is_folder = checkpoint.is_dir()
    require_new(out, folder=is_folder)
    if not loras:
        raise UserError("There is no LoRA to merge; name at least one file.")
    known = folder_layers(checkpoint) if is_folder else file_layers(checkpoint, read_header(checkpoint))
    own = {**_made_from(checkpoint, loras), **(metadata or {})}
    with ExitStack() as stack:
        changes = _changes(checkpoint, known, loras, stack)
        write = _write_folder if is_folder else _write_file
        lost, norm = write(checkpoint, changes, own, out, progress)
    layers = len({(id(one.lora), one.key) for of_file in changes.values() for all in of_file.values() for one in all})
    return Merged(out, known.family.title, layers, math.sqrt(lost / norm) if norm else 0.0)


def _changes(
    checkpoint: Path, known: CheckpointLayers, loras: Sequence[tuple[Path, float]], stack: ExitStack
) -> _Changes:
    """What is added to each tensor of each file."""
    changes: dict[Path, dict[str, list[_Change]]] = defaultdict(lambda: defaultdict(list))
    for path, weight in loras:
        if not math.isfinite(weight):
            raise UserError(f"{path}: its weight is {weight:g}; give a number.")
        lora = stack.enter_context(opened(path))
        for key in lora.keys():  # noqa: SIM118 (no mapping)
            for place in _places(checkpoint, known, lora, key):
                changes[place.file][place.source.name].append(_Change(lora, key, weight, place))
    return changes


def _places(checkpoint: Path, known: CheckpointLayers, lora: OpenedLora, key: str) -> list[Place]:
    places = known.places.get(key)
    if places is None:
        kind = kind_of_inputs({key: lora.down_shape(key)[1] for key in lora.keys()})  # noqa: SIM118
        raise UserError(
            f"{lora.path}: this LoRA{f' for {kind}' if kind else ''} has the layer {key}, which is not in "
            f"{checkpoint.name}, a checkpoint of {known.family.title}; choose the kind of base model that it was "
            "trained on, with its text encoders."
        )
    return places


def _write_folder(
    checkpoint: Path, changes: _Changes, metadata: Mapping[str, str], out: Path, progress: Progress
) -> tuple[float, float]:
    """Write the whole folder or nothing; squared norms as of :func:`_write_file`."""
    lost = norm = 0.0
    with files.temporary_folder(out.parent) as temporary:
        new = temporary / out.name
        for here, below, names in os.walk(checkpoint):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in sorted(names):
                source = Path(here) / name
                target = new / source.relative_to(checkpoint)
                if source in changes:
                    missed, size = _write_file(source, changes, metadata, target, progress)
                    lost, norm = lost + missed, norm + size
                else:
                    files.copy(source, target)
        files.move(new, out)
    return lost, norm


def _write_file(
    source: Path, changes: _Changes, metadata: Mapping[str, str], out: Path, progress: Progress
) -> tuple[float, float]:
    """Write a file; squared norms of what rounding took from the changes, and of them."""
    header, own = read_header(source), changes.get(source, {})
    places = sorted(header.places.items(), key=lambda one: one[1])
    entries = {name: Entry(header.dtypes[name], header.shapes[name], place[1] - place[0]) for name, place in places}
    kept = {key: value for key, value in header.metadata.items() if key not in STALE}
    if "modelspec.title" in kept:
        kept["modelspec.title"] = out.stem
    lost = norm = 0.0
    with (
        files.replacing(out) as temporary,
        Writer(temporary, entries, {**kept, **metadata}) as writer,
        _tensors(source) as tensors,
        source.open("rb") as content,
    ):
        for done, (name, place) in enumerate(places, 1):
            if name in own:
                changed, missed, size = _changed(source, header, name, tensors.get_tensor(name), own[name])
                lost, norm = lost + missed, norm + size
                writer.write(name, changed)
            else:
                writer.copy(name, content, place)
            progress(done, len(places), "tensors")
    return lost, norm


def _changed(
    checkpoint: Path, header: Header, name: str, tensor: Tensor, changes: Sequence[_Change]
) -> tuple[Tensor, float, float]:
    """The tensor with the changes in its own precision; squared norms of what rounding took from them, and of them.

    Raises:
        UserError: a change does not fit, or the precision cannot hold the result.
    """
    if header.dtypes[name] not in _FLOATS:
        raise UserError(f"{checkpoint}: {name} is quantised ({header.dtypes[name]}); give the fp16 or bf16 version.")
    sum_of_changes = torch.zeros_like(tensor, dtype=torch.float32)
    for one in changes:
        view = one.place.source.take(sum_of_changes)
        product = Product.sum([(one.lora.layer(one.key), one.weight)])
        up = product.up if one.place.rows is None else product.up[one.place.rows]
        if view.flatten(1).shape != (up.shape[0], product.down.shape[1]):
            raise UserError(
                f"{one.lora.path}: its layer {one.key} does not fit {checkpoint.name}; choose the base model that it "
                "was trained on."
            )
        view += (up @ product.down).float().view(view.shape)
    exact = tensor.float() + sum_of_changes
    stored = exact.to(tensor.dtype)
    if not math.isfinite(finite.largest(stored)):
        raise UserError(
            f"{checkpoint}: {name} holds NaN or infinity after the merge; lower the weight, or take another version."
        )
    lost = float((stored.float() - exact).double().square().sum())
    return stored, lost, float(sum_of_changes.double().square().sum())


def _tensors(checkpoint: Path) -> safe_open:
    try:
        return safe_open(str(checkpoint), framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{checkpoint}: this safetensors file cannot be read ({error}); download it again or choose another."
        ) from error


def _made_from(checkpoint: Path, loras: Sequence[tuple[Path, float]]) -> dict[str, str]:
    made_from = {
        "checkpoint": checkpoint.stem, "loras": [{"name": path.stem, "weight": weight} for path, weight in loras],
    }  # fmt: skip
    return {MADE_FROM: json.dumps(made_from, ensure_ascii=False)}
