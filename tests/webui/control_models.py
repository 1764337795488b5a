"""ControlNet, IP-Adapter and image encoder of the shapes that are used with SD1.5, with random weights that act."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import ControlNetModel
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from benchmarks import models as real
from tests import models

CONTROL, ADAPTER = "shape", "ip-adapter_sd15"
_WIDTH, _IMAGE_WIDTH, _TOKENS = 768, 1024, 4
# The widths of the cross-attention layers of SD1.5: on the way down, on the way up, in the middle.
_ATTENTIONS = (*[320] * 2, *[640] * 2, *[1280] * 2, *[1280] * 3, *[640] * 3, *[320] * 3, 1280)
_VIT_H = {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16,
    "patch_size": 14, "image_size": 224, "projection_dim": _IMAGE_WIDTH, "hidden_act": "gelu",
}  # fmt: skip


def write_controlnet(folder: Path) -> Path:
    """In diffusers' layout, half precision."""
    return _write(ControlNetModel(**real.UNETS["sd1"]), folder / f"{CONTROL}.safetensors", 1)


def write_adapter(folder: Path) -> Path:
    """An IP-Adapter of four tokens."""
    generator = torch.Generator().manual_seed(2)

    def random(*shape: int) -> torch.Tensor:
        return (torch.randn(shape, generator=generator) * shape[-1] ** -0.5).half()

    tensors = {
        "image_proj.proj.weight": random(_TOKENS * _WIDTH, _IMAGE_WIDTH),
        "image_proj.proj.bias": random(_TOKENS * _WIDTH),
        "image_proj.norm.weight": torch.ones(_WIDTH).half(),
        "image_proj.norm.bias": torch.zeros(_WIDTH).half(),
    }
    for number, width in enumerate(_ATTENTIONS):
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
