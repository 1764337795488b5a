"""What a safetensors file holds, by the names of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..models.safetensors_file import Shape

_Fits = Callable[[str], bool]


@dataclass(frozen=True)
class Kind:
    """What a file is, as in "this is WHAT", and what a person who wants to train on it should do instead; empty where
    only a full checkpoint will do."""

    what: str
    instead: str = ""


def _has(*parts: str) -> _Fits:
    """One of these is found in a tensor's name."""
    return lambda names: any(part in names for part in parts)


def _all(*parts: str) -> _Fits:
    """Each of these is found in a tensor's name."""
    return lambda names: all(part in names for part in parts)


def _starts(*heads: str) -> _Fits:
    """A tensor's name starts with one of these."""
    return lambda names: any(f"\n{head}" in names for head in heads)


_CONTINUE = "A LoRA to continue from belongs in init_lora."
_MERGED = "an adapter of this kind cannot be continued either; merge it into a checkpoint first."
_FULL_PRECISION = "give the version of this model in fp16, bf16 or fp32."

_METHODS: tuple[tuple[_Fits, Kind], ...] = (
    (_has(".hada_w"), Kind("a LoHa", _MERGED)),
    (_has(".lokr_w"), Kind("a LoKr", _MERGED)),
    (_has(".dora_scale", "lora_magnitude_vector"), Kind("a DoRA", _MERGED)),
    (_has(".lora_mid."), Kind("a Tucker LoCon", _MERGED)),
    (_has(".oft_", ".oft_blocks", ".oft_diag"), Kind("an OFT", _MERGED)),
    (_has(".boft_"), Kind("a BOFT", _MERGED)),
    (_all(".a1.weight", ".b1.weight"), Kind("a GLoRA", _MERGED)),
    (_has(".on_input", ".ia3_l"), Kind("an IA3", _MERGED)),
    (_has("vera_lambda_"), Kind("a VeRA", _MERGED)),
    (_has("bundle_emb."), Kind("a LoRA with textual inversions in it", _MERGED)),
)
_LORA = (
    _has(".lora_down.", ".lora_up.", ".lora_A.", ".lora_B.", ".lora.down.", ".lora.up.", "_lora.down.", "_lora.up."),
    Kind("a LoRA, not a base model", _CONTINUE),
)
_DIFFERENCES = (_has(".diff\n", ".diff_b\n"), Kind("a LyCORIS of full differences", _MERGED))

# The first that fits counts: what is more special comes first.
_OTHERS: tuple[tuple[_Fits, Kind], ...] = (
    (
        _has("emb_params", "string_to_param", "\nclip_l\n", "\nclip_g\n"),
        Kind("a textual inversion, not a base model"),
    ),
    (_has("motion_modules."), Kind("an AnimateDiff motion module, not a base model")),
    (_starts("ip_adapter.", "image_proj."), Kind("an IP-Adapter, not a base model")),
    (_starts("adapter.body.", "body.0.block1."), Kind("a T2I-Adapter, not a base model")),
    (
        _has("control_model.", "controlnet_", "lllite_", "input_hint_block.", "lora_controlnet"),
        Kind("a ControlNet, not a base model"),
    ),
    (_has(".RDB1.", ".rdb1.", ".residual_group.", "upsampler.0."), Kind("an upscaler, not a base model")),
    (_all("\nconv_first.", "\nconv_last."), Kind("an upscaler, not a base model")),
    (
        _has("double_stream_modulation"),
        Kind("a Flux 2 model, which is not supported"),
    ),
    (
        _has("single_transformer_blocks."),
        Kind("the transformer of a Flux model alone, in diffusers' names", "give the whole folder of the model."),
    ),
    (_has("individual_token_refiner."), Kind("a HunyuanVideo model, which is not supported")),
    (
        _has("joint_blocks.", "joint_transformer_blocks.", "pos_embed.pos_embed"),
        Kind("a Stable Diffusion 3 or 3.5 model, which is not supported"),
    ),
    (_has("cap_pad_token", "x_pad_token"), Kind("a Z-Image model, which is not supported")),
    (_has("cap_embedder."), Kind("a Lumina model, which is not supported")),
    (_all("transformer_blocks.", ".img_mod."), Kind("a Qwen-Image model, which is not supported")),
    (_all(".cross_attn.", "head.modulation"), Kind("a Wan video model, which is not supported")),
    (_all("condition_embedder.", "blocks.0.attn1."), Kind("a Wan video model, which is not supported")),
    (_has("y_embedder.y_proj.", "t_block.1."), Kind("a PixArt model, which is not supported")),
    (_all("caption_projection.", "pos_embed.proj."), Kind("a PixArt model, which is not supported")),
    (_has("patchify_proj."), Kind("an LTX-Video model, which is not supported")),
    (_has("caption_projection."), Kind("a PixArt, Sana or HiDream model, which is not supported")),
    (_has("mlp_t5."), Kind("a Hunyuan-DiT model, which is not supported")),
    (_has("cond_seq_linear."), Kind("an AuraFlow model, which is not supported")),
    (
        _has("clip_txt_mapper.", "clip_txt_pooled_mapper.", "effnet_mapper."),
        Kind("a Stable Cascade model, which is not supported"),
    ),
    (_has("net.blocks.", "llm_adapter."), Kind("a Cosmos or Anima model, which is not supported")),
    (
        _has("time_stack.", "temporal_transformer_blocks."),
        Kind("a Stable Video Diffusion model, which is not supported"),
    ),
    (_has("encoder_hid_proj."), Kind("a Kolors or Kandinsky model, which is not supported")),
    (_has("edm_mean", "edm_vpred.sigma"), Kind("a model of the EDM kind, which is not supported")),
    (
        _starts("conditioner.embedders.0.model."),
        Kind("the SDXL refiner", "give the SDXL base model."),
    ),
    (_starts("cond_stage_model.roberta."), Kind("AltDiffusion, which is not supported")),
    (_starts("embedder.model.", "noise_augmentor."), Kind("a Stable unCLIP model, which is not supported")),
    (_starts("depth_model."), Kind("a depth-to-image model", "give the plain text-to-image version.")),
    (
        _has(".absmax", ".quant_map", ".quant_state", "bitsandbytes"),
        Kind("quantised (nf4 or bitsandbytes)", _FULL_PRECISION),
    ),
    (
        _has("scaled_fp8", ".scale_weight", ".scale_input", ".weight_scale", ".comfy_quant"),
        Kind("quantised (scaled fp8)", _FULL_PRECISION),
    ),
    (_has(".qweight", ".qzeros", ".wscales", "._data"), Kind("quantised", _FULL_PRECISION)),
    (
        _has("time_embed.cond_proj.", "time_embedding.cond_proj."),
        Kind(
            "a Latent Consistency Model (LCM), distilled to few steps and no guidance",
            "give the model that it was distilled from.",
        ),
    ),
)


def method_of(names: Mapping[str, Shape]) -> Kind | None:
    """What the file is where it holds an adapter that is more than plain low-rank matrices."""
    return _first(_METHODS, names)


def kind_of(shapes: Mapping[str, Shape]) -> Kind | None:
    """What a file with these tensors is, where it is no checkpoint of Stable Diffusion 1, 2 or XL nor a part of one."""
    return _first((*_METHODS, _LORA, _DIFFERENCES, *_OTHERS), shapes) or _embedding(shapes)


def _first(table: tuple[tuple[_Fits, Kind], ...], names: Mapping[str, Shape]) -> Kind | None:
    text = "\n" + "\n".join(names) + "\n"
    return next((kind for fits, kind in table if fits(text)), None)


def _embedding(shapes: Mapping[str, Shape]) -> Kind | None:
    """A few vectors of the text encoder's width are a textual inversion, under whatever name."""
    widths = {shape[-1] for shape in shapes.values() if len(shape) in (1, 2)}
    few = 0 < len(shapes) <= 4 and all(
        len(shape) == 1 or (len(shape) == 2 and shape[0] <= 128) for shape in shapes.values()
    )
    return Kind("a textual inversion, not a base model") if few and widths <= {768, 1024, 1280} else None
