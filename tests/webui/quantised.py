"""Checkpoints in ComfyUI's quantised formats, made of ordinary ones."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def quantise(path: Path, kind: str = "float8_e4m3fn", block: str = ".ff.net.") -> None:
    """Keep the matrices of the blocks of this name as ComfyUI's quantised files of the kind do.

    ``scaled_fp8`` is how it marked them before ``comfy_quant``. Only fp8 keeps the numbers.
    """
    tensors = load_file(path)
    for name in [name for name in tensors if block in name and tensors[name].ndim == 2]:
        layer, weight = name.removesuffix(".weight"), tensors.pop(name).float()
        if kind == "scaled_fp8":
            factor, tensors[name] = _in_fp8(weight)
            tensors[f"{layer}.scale_weight"] = factor
        else:
            marks = list(json.dumps({"format": kind}).encode())
            tensors[f"{layer}.comfy_quant"] = torch.tensor(marks, dtype=torch.uint8)
            tensors |= {f"{layer}.{key}": tensor for key, tensor in _KINDS[kind](weight).items()}
    if kind == "scaled_fp8":
        tensors["model.diffusion_model.scaled_fp8"] = torch.empty(2, dtype=torch.float8_e4m3fn)
    save_file(tensors, path)


def _in_fp8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The scale of a matrix, and the matrix divided by it."""
    factor = weight.abs().max() / torch.finfo(torch.float8_e4m3fn).max
    return factor, (weight / factor).to(torch.float8_e4m3fn)


def _float8(weight: Tensor) -> dict[str, Tensor]:
    factor, quantised = _in_fp8(weight)
    return {"weight": quantised, "weight_scale": factor}


def _int8(weight: Tensor) -> dict[str, Tensor]:
    return {"weight": torch.zeros(weight.shape, dtype=torch.int8), "weight_scale": torch.ones(())}


def _nvfp4(weight: Tensor) -> dict[str, Tensor]:
    rows, columns = weight.shape
    return {
        "weight": torch.zeros(rows, columns // 2, dtype=torch.uint8),
        "weight_scale": torch.ones(-(-rows // 128) * 128, -(-columns // 64) * 4).to(torch.float8_e4m3fn),
        "weight_scale_2": torch.ones(()),
    }


def _mxfp8(weight: Tensor) -> dict[str, Tensor]:
    rows, columns = weight.shape
    # 127 is the exponent of 1.
    scales = torch.full((-(-rows // 128) * 128, -(-columns // 128) * 4), 127, dtype=torch.uint8)
    return {"weight": torch.zeros(rows, columns).to(torch.float8_e4m3fn), "weight_scale": scales}


_KINDS = {"float8_e4m3fn": _float8, "int8_tensorwise": _int8, "nvfp4": _nvfp4, "mxfp8": _mxfp8}
