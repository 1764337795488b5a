"""ControlNet, IP-Adapter and image encoder of the shapes that are used with SD1.5, with random weights that act."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from diffusers import ControlNetModel
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from benchmarks import models as real
from tests import models

CONTROL, ADAPTER, OTHER = "shape", "ip-adapter_sd15", "no-control"
_WIDTH, _IMAGE_WIDTH, _TOKENS = 768, 1024, 4
# The widths of the cross-attention layers of SD1.5: on the way down, on the way up, in the middle.
ATTENTIONS = (*[320] * 2, *[640] * 2, *[1280] * 2, *[1280] * 3, *[640] * 3, *[320] * 3, 1280)
_HINT_WIDTHS = (3, 16, 16, 32, 32, 96, 96, 256, 320)
_VIT_H = {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16,
    "patch_size": 14, "image_size": 224, "projection_dim": _IMAGE_WIDTH, "hidden_act": "gelu",
}  # fmt: skip


def write_controlnet(folder: Path) -> Path:
    """In diffusers' layout, half precision."""
    return _write(ControlNetModel(**real.UNETS["sd1"]), folder / f"{CONTROL}.safetensors", 1)


def write_original_controlnet(checkpoint: Path, folder: Path) -> Path:
    """In its original layout: the encoder of the checkpoint's UNet, and convolutions that are zero only in new ones."""
    prefix = "model.diffusion_model."
    parts = tuple(f"{prefix}{part}." for part in ("time_embed", "input_blocks", "middle_block"))
    with safe_open(checkpoint, "pt") as file:
        names = [name for name in file.keys() if name.startswith(parts)]  # noqa: SIM118
        shapes = {name.removeprefix(prefix): file.get_slice(name).get_shape() for name in names}
    shapes |= _zero_convolutions(shapes)
    for number, (width_in, width_out) in enumerate(pairwise(_HINT_WIDTHS)):
        shapes |= _convolution(f"input_hint_block.{2 * number}", width_out, width_in, 3)
    generator = torch.Generator().manual_seed(1)
    path = folder / f"{CONTROL}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({f"control_model.{name}": _random(shape, generator, name) for name, shape in shapes.items()}, path)
    return path


def write_other(folder: Path) -> Path:
    """A file that is no model of ControlNet."""
    save_file({"something.weight": torch.ones(2, 2)}, folder / f"{OTHER}.safetensors")
    return folder / f"{OTHER}.safetensors"


def write_adapter(folder: Path, widths: Sequence[int] = ATTENTIONS) -> Path:
    """An IP-Adapter of four tokens; ``widths``: of the cross-attention layers."""
    generator = torch.Generator().manual_seed(2)

    def random(*shape: int) -> torch.Tensor:
        return (torch.randn(shape, generator=generator) * shape[-1] ** -0.5).half()

    tensors = {
        "image_proj.proj.weight": random(_TOKENS * _WIDTH, _IMAGE_WIDTH),
        "image_proj.proj.bias": random(_TOKENS * _WIDTH),
        "image_proj.norm.weight": torch.ones(_WIDTH).half(),
        "image_proj.norm.bias": torch.zeros(_WIDTH).half(),
    }
    for number, width in enumerate(widths):
        for part in ("to_k_ip", "to_v_ip"):
            tensors[f"ip_adapter.{2 * number + 1}.{part}.weight"] = random(width, _WIDTH)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / f"{ADAPTER}.safetensors")
    return folder / f"{ADAPTER}.safetensors"


def write_image_encoder(path: Path) -> Path:
    """CLIP ViT-H, which IP-Adapters look through; ``.pth`` as the extension for A1111 wants it."""
    return _write(CLIPVisionModelWithProjection(CLIPVisionConfig(**_VIT_H)), path, 3)


def _write(module: torch.nn.Module, path: Path, seed: int) -> Path:
    models.fill(module, torch.Generator().manual_seed(seed))
    tensors = {name: tensor.contiguous() for name, tensor in module.half().state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pth":
        # Not the newer container, in which A1111 finds a file that it does not know and refuses.
        torch.save(tensors, path, _use_new_zipfile_serialization=False)
    else:
        save_file(tensors, path)
    return path


def _zero_convolutions(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    """One for each output of the encoder."""
    made = {}
    for number in range(len({name.split(".")[1] for name in shapes if name.startswith("input_blocks.")})):
        # The first block is a convolution; the others end in that of a residual block, or make the image smaller.
        lasts = [f"input_blocks.{number}.0{end}.weight" for end in (".out_layers.3", ".op", "")]
        width = next(shapes[last][0] for last in lasts if last in shapes)
        made |= _convolution(f"zero_convs.{number}.0", width, width, 1)
    width = shapes["middle_block.0.out_layers.3.weight"][0]
    return made | _convolution("middle_block_out.0", width, width, 1)


def _convolution(name: str, width_out: int, width_in: int, side: int) -> dict[str, list[int]]:
    return {f"{name}.weight": [width_out, width_in, side, side], f"{name}.bias": [width_out]}


def _random(shape: list[int], generator: torch.Generator, name: str) -> torch.Tensor:
    """Weights of a size that keeps activations near 1."""
    noise = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        return (noise * noise[0].numel() ** -0.5).half()
    return (0.1 * noise + (1.0 if name.endswith("weight") else 0.0)).half()
