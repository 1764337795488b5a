"""A reduced Flux checkpoint: real blocks, few and narrow, with CLIP and the VAE of real size and a tiny T5.

Forge and Neo take a Flux's sizes for granted; ``NAME.sizes.json`` has ours for the driver, which passes them on.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks import models as real
from lora_scripts_ext.models.vae import vae_to_original
from tests import models

REDUCED = {"hidden_size": 256, "num_heads": 2, "depth": 2, "depth_single_blocks": 2, "context_in_dim": 64}
#: as wide as the real one, which whoever splits its joined layers takes for granted
WIDE = {"hidden_size": 3072, "num_heads": 24, "depth": 1, "depth_single_blocks": 1, "context_in_dim": 64}
CHROMA = {
    "hidden_size": 128, "num_heads": 1, "depth": 19, "depth_single_blocks": 38, "context_in_dim": 64, "out_dim": 128,
    "hidden_dim": 64, "n_layers": 2,
}  # fmt: skip
T5 = {"d_model": 64, "d_ff": 128, "num_heads": 1, "num_layers": 2}
VAE = {**real.VAE, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
VAE_SCALE, VAE_SHIFT = 0.3611, 0.1159
TRANSFORMER = "model.diffusion_model."
_MLP_RATIO = 4
_PATCH = 64
_POOLED = 768
_VOCABULARY = 32128
_F32, _Q8_0, _GGUF_STRING, _GGUF_ALIGNMENT = 0, 8, 8, 32

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def write(
    folder: Path, variant: str = "dev", dtype: torch.dtype = torch.bfloat16, sizes: dict[str, int] = REDUCED
) -> Path:
    """A checkpoint with everything inside; the transformer is kept in ``dtype``."""
    transformer = _random(transformer_shapes(sizes, variant == "dev"), torch.Generator().manual_seed(5))
    tensors = {f"{TRANSFORMER}{name}": tensor.to(dtype) for name, tensor in transformer.items()}
    for prefix, part in _others().items():
        tensors |= {f"{prefix}{name}": tensor for name, tensor in part.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"reduced_flux_{variant}.safetensors"
    save_file(tensors, path)
    path.with_suffix(".sizes.json").write_text(json.dumps({"transformer": sizes, "t5": T5}))
    return path


def write_chroma(folder: Path) -> Path:
    """A Chroma checkpoint (float32): narrow, with as many blocks as the real one, which Neo takes for granted."""
    transformer = _random(chroma_shapes(CHROMA), torch.Generator().manual_seed(5))
    tensors = {f"{TRANSFORMER}{name}": tensor for name, tensor in transformer.items()}
    for prefix, part in _others().items():
        tensors |= {f"{prefix}{name}": tensor for name, tensor in part.items() if "clip_l" not in prefix}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "reduced_chroma.safetensors"
    save_file(tensors, path)
    path.with_suffix(".sizes.json").write_text(json.dumps({"transformer": CHROMA, "t5": T5}))
    return path


def write_gguf(folder: Path) -> tuple[Path, list[Path]]:
    """A transformer quantised to 8 bits, and the files of the other parts, as the hub serves them."""
    others = []
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, part in _others().items():
        others.append(folder / f"{prefix.split('.')[-3] if prefix.count('.') > 1 else 'vae'}.safetensors")
        save_file(part, others[-1])
    transformer = _random(transformer_shapes(REDUCED, True), torch.Generator().manual_seed(5))
    path = folder / "reduced_flux_q8.gguf"
    _save_gguf({name: tensor.numpy() for name, tensor in transformer.items()}, path)
    path.with_suffix(".sizes.json").write_text(json.dumps({"transformer": REDUCED, "t5": T5}))
    return path, others


def _others() -> dict[str, dict[str, Tensor]]:
    """Text encoders and VAE, by where a checkpoint keeps them."""
    generator = torch.Generator().manual_seed(6)
    t5 = {name: tensor.half() for name, tensor in _random(t5_shapes(), generator).items()}
    clip = CLIPTextModel(CLIPTextConfig(bos_token_id=49406, eos_token_id=49407, hidden_act="quick_gelu", **real.CLIP_L))
    states = {"text_encoders.t5xxl.transformer.": t5}
    for prefix, part in (("text_encoders.clip_l.transformer.", clip), ("vae.", AutoencoderKL(**VAE))):
        models.fill(part, generator)
        # As in the real files; Neo reads a VAE inside a checkpoint by these names alone.
        state = vae_to_original(part.state_dict()) if prefix == "vae." else part.state_dict()
        states[prefix] = {name: tensor.half().contiguous() for name, tensor in state.items()}
    return states


def _save_gguf(tensors: dict[str, np.ndarray], path: Path) -> None:
    """Version 3 of the format (ggml-org/ggml, docs/gguf.md): matrices as Q8_0, the rest as float32."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    header = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), 1)
    header += text("general.architecture") + struct.pack("<I", _GGUF_STRING) + text("flux")
    data = b""
    for name, array in tensors.items():
        kind, stored = (_Q8_0, _q8_0(array)) if array.ndim == 2 else (_F32, array.astype("<f4").tobytes())
        header += text(name) + struct.pack(f"<I{array.ndim}Q", array.ndim, *reversed(array.shape))
        header += struct.pack("<IQ", kind, len(data))
        data += stored + b"\0" * (-len(stored) % _GGUF_ALIGNMENT)
    path.write_bytes(header + b"\0" * (-len(header) % _GGUF_ALIGNMENT) + data)


def _q8_0(matrix: np.ndarray) -> bytes:
    """Blocks of 32 numbers: a half-precision scale, then as many bytes."""
    blocks = matrix.reshape(-1, 32)
    scales = np.abs(blocks).max(axis=1, keepdims=True) / 127
    packed = np.empty(len(blocks), dtype=[("scale", "<f2"), ("numbers", "i1", 32)])
    packed["scale"], packed["numbers"] = scales[:, 0], np.round(blocks / scales)
    return packed.tobytes()


def transformer_shapes(sizes: dict[str, int], guidance: bool) -> Shapes:
    """Names and shapes of a Flux transformer in the original layout."""
    width, per_head = sizes["hidden_size"], sizes["hidden_size"] // sizes["num_heads"]
    yield from _linear("img_in", _PATCH, width)
    yield from _linear("txt_in", sizes["context_in_dim"], width)
    for name, inputs in (("time_in", 256), ("vector_in", _POOLED), *([("guidance_in", 256)] if guidance else [])):
        yield from _linear(f"{name}.in_layer", inputs, width)
        yield from _linear(f"{name}.out_layer", width, width)
    for block in range(sizes["depth"]):
        for stream in ("img", "txt"):
            yield from _stream(f"double_blocks.{block}.{stream}", width, per_head)
    for block in range(sizes["depth_single_blocks"]):
        head = f"single_blocks.{block}"
        yield from _linear(f"{head}.linear1", width, (3 + _MLP_RATIO) * width)
        yield from _linear(f"{head}.linear2", (1 + _MLP_RATIO) * width, width)
        yield from _linear(f"{head}.modulation.lin", width, 3 * width)
        yield from _norms(head, per_head)
    yield from _linear("final_layer.linear", width, _PATCH)
    yield from _linear("final_layer.adaLN_modulation.1", width, 2 * width)


def chroma_shapes(sizes: dict[str, int]) -> Shapes:
    """Names and shapes of a Chroma transformer in the original layout: Flux's without modulation and embeddings."""
    left_out = ("time_in.", "vector_in.", "final_layer.adaLN")
    for name, shape in transformer_shapes(sizes, guidance=False):
        if "_mod.lin" not in name and ".modulation." not in name and not name.startswith(left_out):
            yield name, shape
    head, hidden = "distilled_guidance_layer", sizes["hidden_dim"]
    yield from _linear(f"{head}.in_proj", 64, hidden)
    for layer in range(sizes["n_layers"]):
        yield from _linear(f"{head}.layers.{layer}.in_layer", hidden, hidden)
        yield from _linear(f"{head}.layers.{layer}.out_layer", hidden, hidden)
        yield f"{head}.norms.{layer}.scale", (hidden,)
    yield from _linear(f"{head}.out_proj", hidden, sizes["hidden_size"])


def t5_shapes() -> Shapes:
    """Names and shapes of T5's encoder, as transformers has them."""
    width, wide = T5["d_model"], T5["d_ff"]
    yield "shared.weight", (_VOCABULARY, width)
    yield "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", (32, T5["num_heads"])
    for layer in range(T5["num_layers"]):
        head = f"encoder.block.{layer}.layer"
        for name in "qkvo":
            yield f"{head}.0.SelfAttention.{name}.weight", (width, width)
        for name, shape in (("wi_0", (wide, width)), ("wi_1", (wide, width)), ("wo", (width, wide))):
            yield f"{head}.1.DenseReluDense.{name}.weight", shape
        for part in (0, 1):
            yield f"{head}.{part}.layer_norm.weight", (width,)
    yield "encoder.final_layer_norm.weight", (width,)


def _stream(head: str, width: int, per_head: int) -> Shapes:
    yield from _linear(f"{head}_mod.lin", width, 6 * width)
    yield from _linear(f"{head}_attn.qkv", width, 3 * width)
    yield from _linear(f"{head}_attn.proj", width, width)
    yield from _norms(f"{head}_attn", per_head)
    yield from _linear(f"{head}_mlp.0", width, _MLP_RATIO * width)
    yield from _linear(f"{head}_mlp.2", _MLP_RATIO * width, width)


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norms(head: str, per_head: int) -> Shapes:
    yield f"{head}.norm.query_norm.scale", (per_head,)
    yield f"{head}.norm.key_norm.scale", (per_head,)


def _random(shapes: Shapes, generator: torch.Generator) -> dict[str, Tensor]:
    """Matrices that keep activations near 1, norms near 1, biases near 0."""
    tensors = {}
    for name, shape in shapes:
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 2:
            tensors[name] = noise * shape[1] ** -0.5
        else:
            tensors[name] = 0.1 * noise + (1.0 if "norm" in name else 0.0)
    return tensors
