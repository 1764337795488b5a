"""A LoRA file that is open: its layers by kohya key, read one by one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open
from torch import Tensor

from .. import finite
from ..base_models.kinds import kind_of, method_of
from ..errors import UserError
from ..models.safetensors_file import Header, Shape, read_header
from . import dialects, peft_config
from .dialects import Role
from .lora_weights import LoraLayer
from .peft_config import PeftConfig

_CHECKPOINT = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner.")
_FOLDER_FILES = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")


@dataclass(frozen=True)
class _Stored:
    """A layer as its file has it.

    Attributes:
        name: its path there.
        tensors: the names of its tensors.
        config: PEFT's, where it has one.
    """

    path: Path
    name: str
    tensors: Mapping[Role, str]
    header: Header
    config: PeftConfig | None

    def shape(self, role: Role) -> Shape:
        return self.header.shapes[self.tensors[role]]


class OpenedLora:
    """A LoRA's layers, each read when it is asked for.

    Attributes:
        path: of the file or folder.
        metadata: of the file; of a folder with several, of the first.
    """

    def __init__(self, path: Path, metadata: dict[str, str], layers: Mapping[str, _Stored], files: ExitStack) -> None:
        self.path = path
        self.metadata = metadata
        self._layers = layers
        self._stack = files
        self._files: dict[Path, safe_open] = {}

    def keys(self) -> list[str]:
        """The kohya keys of its layers, in the order of the file."""
        return list(self._layers)

    def down_shape(self, key: str) -> Shape:
        """[rank, inputs], or [rank, inputs, height, width] for a convolution."""
        return self._layers[key].shape("down")

    def up_shape(self, key: str) -> Shape:
        """[outputs, rank], or [outputs, rank, 1, 1] for a convolution."""
        return self._layers[key].shape("up")

    def dtypes(self) -> set[str]:
        """Those of its matrices, as the file names them: ``F16``."""
        return {one.header.dtypes[one.tensors[role]] for one in self._layers.values() for role in ("down", "up")}

    def layer(self, key: str) -> LoraLayer:
        """Read a layer, its matrices as float32.

        Raises:
            UserError: the file is damaged, or holds NaN or infinity.
        """
        stored = self._layers[key]
        tensors = {role: self._tensor(stored.path, name) for role, name in stored.tensors.items()}
        rank = stored.shape("down")[0]
        if "alpha" in tensors:
            alpha = float(tensors["alpha"].item())
        elif stored.config is not None:
            alpha = stored.config.alpha_of(dialects.module_path(stored.name), rank)
        else:
            alpha = float(rank)
        return LoraLayer(tensors["down"].float(), tensors["up"].float(), alpha)

    def _tensor(self, path: Path, name: str) -> Tensor:
        try:
            if path not in self._files:
                self._files[path] = self._stack.enter_context(safe_open(path, framework="pt"))
            tensor: Tensor = self._files[path].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{path}: this safetensors file cannot be read ({error}); download it again or choose another."
            ) from error
        if not math.isfinite(finite.largest(tensor)):
            raise UserError(f"{path}: {name} holds NaN or infinity; its training failed, choose another file.")
        return tensor


@contextmanager
def opened(path: Path) -> Iterator[OpenedLora]:
    """Open a LoRA of kohya's scripts, this trainer, PEFT, diffusers, ComfyUI or ai-toolkit.

    ``path`` is a file, or a folder as PEFT or diffusers save one. The keys become ``lora_unet_``, ``lora_te1_`` or
    ``lora_te2_`` and the path with underscores. Without an alpha the scale is 1; PEFT's is in ``adapter_config.json``.

    Raises:
        UserError: there is no such file, it is damaged, or no LoRA of this kind.
    """
    layers: dict[str, _Stored] = {}
    headers = {file: _header(file) for file in _files(path)}
    for file, header in headers.items():
        for key, layer in _layers(file, header):
            if key in layers:
                raise UserError(f"{file}: the layer {key} occurs twice, under two names; choose another LoRA file.")
            layers[key] = layer
    with ExitStack() as stack:
        yield OpenedLora(path, next(iter(headers.values())).metadata, layers, stack)


def _header(path: Path) -> Header:
    if not path.exists():
        raise UserError(f"{path}: there is no such LoRA file; check the path.")
    return read_header(path)


def _files(path: Path) -> list[Path]:
    """The LoRA's files: itself, or what a folder of PEFT (one a model) or diffusers holds."""
    if not path.is_dir():
        return [path]
    folders = [path, *(path / name for name in ("unet", "text_encoder", "text_encoder_2"))]
    files = [folder / name for folder in folders for name in _FOLDER_FILES if (folder / name).is_file()]
    if files:
        return files
    if any((folder / "adapter_model.bin").is_file() for folder in folders):
        raise UserError(
            f"{path}: the LoRA in this folder is adapter_model.bin, a pickle, which can run code when it is loaded; "
            "save it with safe_serialization=True."
        )
    others = sorted(entry.name for entry in path.glob("*.safetensors"))
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UserError(f"{path}: this is a folder; give the path of the LoRA file itself ({others[0]}{more}).")
    raise UserError(f"{path}: this folder holds no LoRA; give the path of a .safetensors file.")


def _layers(path: Path, header: Header) -> Iterator[tuple[str, _Stored]]:
    grouped = _grouped(path, header.shapes)
    configs = _configs(path, grouped, header.metadata)
    for name, tensors in grouped.items():
        config = configs.get("" if dialects.is_peft(name) else name.partition(".")[0])
        _require_whole(path, name, {role: header.shapes[tensor] for role, tensor in tensors.items()})
        yield dialects.kohya(name, _text_encoder(path, config)), _Stored(path, name, tensors, header, config)


def _grouped(path: Path, shapes: Mapping[str, Shape]) -> dict[str, dict[Role, str]]:
    """The tensors of each layer, by its path as the file has it."""
    if method := method_of(shapes):
        raise UserError(f"{path}: this is {method.what} file; only plain LoRA files can be continued.")
    by_layer: dict[str, dict[Role, str]] = {}
    for name in shapes:
        parsed = dialects.split(name)
        if parsed is None:
            raise UserError(f"{path}: this is not a LoRA, {_what_else(name, shapes)}; choose a LoRA file.")
        layer, role = parsed
        by_layer.setdefault(layer, {})[role] = name
    if not by_layer:
        raise UserError(f"{path}: the file is empty; choose a LoRA file.")
    return by_layer


def _require_whole(path: Path, name: str, shapes: Mapping[Role, Shape]) -> None:
    down, up = shapes.get("down", ()), shapes.get("up", ())
    if min(len(down), len(up)) < 2 or down[0] != up[1]:
        raise UserError(f"{path}: the layer {name} is incomplete; download the file again or choose another.")
    if math.prod(shapes.get("alpha", ())) != 1:
        raise UserError(f"{path}: the alpha of {name} is not one number; download the file again or choose another.")


def _configs(path: Path, names: Iterable[str], metadata: Mapping[str, str]) -> dict[str, PeftConfig]:
    """PEFT's configurations, by the model that names start with; under an empty name for files of PEFT itself."""
    configs = peft_config.from_metadata(path, metadata.get("lora_adapter_metadata", "{}"))
    if any(dialects.is_peft(name) for name in names):
        configs[""] = peft_config.read_config(path.parent / peft_config.FILE)
    return configs


def _text_encoder(path: Path, config: PeftConfig | None) -> Literal["te1", "te2"]:
    """Which text encoder a file of PEFT is for, by the class it was trained on or its folder."""
    second = config is not None and config.base_class == "CLIPTextModelWithProjection"
    return "te2" if second or path.parent.name == "text_encoder_2" else "te1"


def _what_else(name: str, shapes: Mapping[str, Shape]) -> str:
    """What a file with a tensor that is of no LoRA is."""
    if not any(dialects.split(other) for other in shapes) and any(other.startswith(_CHECKPOINT) for other in shapes):
        return "but a checkpoint, which belongs in base_model"
    kind = kind_of(shapes)
    if kind is None or kind.what.startswith("a LoRA"):
        return f"it holds {name}"
    return f"but {kind.what.removesuffix(', not a base model')} ({name})"
