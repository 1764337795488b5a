"""Which kind of base model a LoRA was trained on, by its layers' names and widths."""

from __future__ import annotations

from collections.abc import Mapping

from .lora_weights import LoraLayer

_BY_NAME = {
    "double_blocks": "Flux",
    "single_transformer_blocks": "Flux",
    "joint_blocks": "Stable Diffusion 3",
    "attn_add_q_proj": "Flux or Stable Diffusion 3",
    "img_mlp": "Qwen-Image",
    "cross_attn": "a Wan video model",
    "lora_unet_layers_": "Z-Image or Lumina",
    "lora_prior_": "Stable Cascade",
}
# Width of the text embeddings in cross-attention.
_BY_CONTEXT = {
    768: "Stable Diffusion 1",
    1024: "Stable Diffusion 2",
    2048: "Stable Diffusion XL",
    1280: "the SDXL refiner",
}


def base_model_kind(layers: Mapping[str, LoraLayer]) -> str | None:
    """The kind of base model, such as "Stable Diffusion 1"; None where it cannot be determined."""
    return kind_of_inputs({key: layer.down.shape[1] for key, layer in layers.items()})


def kind_of_inputs(inputs: Mapping[str, int]) -> str | None:
    """As :func:`base_model_kind`, from the number of inputs of each layer, by kohya key."""
    names = "\n".join(inputs)
    named = next((kind for part, kind in _BY_NAME.items() if part in names), None)
    if named:
        return named
    widths = {width for key, width in inputs.items() if key.endswith(("attn2_to_k", "attn2_to_v"))}
    return _BY_CONTEXT.get(widths.pop()) if len(widths) == 1 else None
