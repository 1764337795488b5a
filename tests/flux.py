"""A tiny Flux of real structure, on disk as users have it: a diffusers folder, and everything in one file.

Weights are random and exact in fp16, as those of ``models``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

from lora_scripts_ext.base_models.diffusers_folder import read_folder
from lora_scripts_ext.base_models.original_layout import UNET
from lora_scripts_ext.models.vae import vae_to_original

from . import models

TOKENIZER = models.TOKENIZER.parent / "t5_tokenizer" / "tokenizer.json"
SCALE, SHIFT = 0.3611, 0.1159
CONTEXT, POOLED = 48, models.TEXT_WIDTH
_SHIFTED = {"use_dynamic_shifting": True, "shift": 3.0}


def vae() -> AutoencoderKL:
    """Flux's and Chroma's, tiny."""
    return AutoencoderKL(
        block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2, layers_per_block=1,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=16, sample_size=32, scaling_factor=SCALE,
        shift_factor=SHIFT, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip


def t5_tokenizer() -> T5TokenizerFast:
    """The one that is shipped."""
    return T5TokenizerFast(tokenizer_file=str(TOKENIZER))


def pipeline(variant: str = "dev") -> FluxPipeline:
    """diffusers' own pipeline of the tiny model; ``dev`` or ``schnell``."""
    transformer = FluxTransformer2DModel(
        in_channels=64, num_layers=2, num_single_layers=2, attention_head_dim=32, num_attention_heads=2,
        joint_attention_dim=CONTEXT, pooled_projection_dim=POOLED, guidance_embeds=variant == "dev",
        axes_dims_rope=(4, 14, 14),
    )  # fmt: skip
    parts: list[nn.Module] = [transformer, vae(), _clip(), t5()]
    for index, part in enumerate(parts):
        models.fill(part, torch.Generator().manual_seed(50 + index))
    pipe = FluxPipeline(
        transformer=transformer,
        vae=parts[1],
        text_encoder=parts[2],
        text_encoder_2=parts[3],
        scheduler=FlowMatchEulerDiscreteScheduler(**(_SHIFTED if variant == "dev" else {"shift": 1.0})),
        tokenizer=CLIPTokenizer.from_pretrained(models.TOKENIZER),
        tokenizer_2=t5_tokenizer(),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def write_folder(path: Path, variant: str = "dev") -> Path:
    """The model (float32) as a diffusers folder."""
    pipeline(variant).save_pretrained(path, safe_serialization=True)
    return path


def write_file(path: Path, variant: str = "dev") -> Path:
    """The model (fp16) as ComfyUI saves a checkpoint: everything in one file."""
    folder = path.parent / f"folder of {path.stem}"
    pipe = pipeline(variant)
    pipe.save_pretrained(folder, safe_serialization=True)
    transformer = read_folder(folder).unet.load(torch.device("cpu"), torch.float32).state_dict()
    clip, t5 = pipe.text_encoder.state_dict(), pipe.text_encoder_2.state_dict()
    t5.pop("encoder.embed_tokens.weight", None)
    tensors = {f"{UNET}{name}": tensor for name, tensor in transformer.items()}
    tensors |= {f"vae.{name}": tensor for name, tensor in vae_to_original(pipe.vae.state_dict()).items()}
    tensors |= {f"text_encoders.clip_l.transformer.{name}": tensor for name, tensor in clip.items()}
    tensors |= {f"text_encoders.t5xxl.transformer.{name}": tensor for name, tensor in t5.items()}
    save_file({name: tensor.half().contiguous() for name, tensor in tensors.items()}, path)
    return path


def predict(transformer: nn.Module, noisy: Tensor, timesteps: Tensor, context: Tensor, **inputs: Tensor) -> Tensor:
    """What diffusers' transformer predicts for latents [batch, 16, height, width]; Chroma's packs them the same way."""
    batch, channels, height, width = noisy.shape
    patches = transformer(
        hidden_states=FluxPipeline._pack_latents(noisy, batch, channels, height, width),
        timestep=timesteps,
        encoder_hidden_states=context,
        txt_ids=torch.zeros(context.shape[1], 3),
        img_ids=FluxPipeline._prepare_latent_image_ids(batch, height // 2, width // 2, noisy.device, noisy.dtype),
        return_dict=False,
        **inputs,
    )[0]
    return FluxPipeline._unpack_latents(patches, height * 8, width * 8, 8)


def _clip() -> nn.Module:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=models.VOCABULARY, hidden_size=POOLED, intermediate_size=2 * POOLED, num_hidden_layers=2,
            num_attention_heads=1, max_position_embeddings=77, hidden_act="quick_gelu",
            bos_token_id=models.VOCABULARY - 2, eos_token_id=models.VOCABULARY - 1,
        )
    )  # fmt: skip


def t5() -> nn.Module:
    """A tiny T5 with the real vocabulary."""
    return T5EncoderModel(
        T5Config(
            vocab_size=32128, d_model=CONTEXT, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
            feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False,
        )
    )  # fmt: skip
