"""What Forge and Forge Neo do differently, as far as training is concerned: Neo goes on from Forge with the model
manager, the blocks and the quantised weights of ComfyUI.

Importable only inside Forge or Neo.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from backend import args, attention, memory_management

from ....errors import UserError
from ....families.family import Family
from .. import shared_state
from ..which import is_neo
from . import weights

_STORED = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)


class Webui(ABC):
    """What the host needs from the WebUI that it runs in.

    Attributes:
        trainable: the models that it loads and that can be trained on, in a sentence.
        denoisers: of these models, by diffusers' classes.
        wider_precision: see ``contract.Session``.
    """

    trainable: ClassVar[str]
    denoisers: ClassVar[tuple[str, ...]] = ("UNet2DConditionModel", "FluxTransformer2DModel")
    wider_precision: ClassVar[str]

    @abstractmethod
    def card_version(self, family: Family) -> str:
        """The "sd version" of a LoRA's card, by which the WebUI hides the cards of other kinds of models."""

    @abstractmethod
    def require_gradients(self, model: Any, text: bool) -> None:
        """The weights of the UNet (and, with ``text``, of the text encoders) let gradients through.

        Raises:
            UserError: they do not.
        """

    @abstractmethod
    def latent_scale(self, vae: Any) -> float:
        """The VAE's scaling factor."""

    @abstractmethod
    def latent_shift(self, vae: Any) -> float:
        """The VAE's shift factor."""

    @abstractmethod
    def load(self, patchers: list[Any], whole: bool) -> None:
        """Bring parts of a model to their devices, with the LoRAs that each of them uses merged; ``whole``: no
        layer waits in the memory of the CPU until it is its turn."""

    @abstractmethod
    def is_loaded(self, patcher: Any, whole: bool) -> bool:
        """Whether :meth:`load` has nothing to do."""

    @abstractmethod
    def is_outdated(self, patcher: Any, replaced: Container[Path]) -> bool:
        """Whether a part of a model uses a LoRA that must not be merged again: its file is another by now."""

    @abstractmethod
    def forget_files(self) -> None:
        """LoRAs are read from their files again."""

    @abstractmethod
    def load_networks(self, names: Sequence[str]) -> None:
        """The next image uses the LoRAs that are listed by these names, as they are."""

    @abstractmethod
    def forwards(self, attend: Any) -> weights.Forwards:
        """The forwards of blocks that must be computed another way for gradients; ``attend`` computes attention."""

    @abstractmethod
    def functions(self) -> dict[str, object]:
        """Functions with gradients, by the names that other functions have in the module of a model's blocks."""

    @contextmanager
    def without_references(self) -> Iterator[None]:
        """No image that was given to the model to look at counts, beside the one it is to draw."""
        yield


class Forge(Webui):
    """lllyasviel's Forge."""

    trainable = "a Stable Diffusion 1, 2, XL or Flux checkpoint"
    wider_precision = "start Forge with --all-in-fp32 (or --unet-in-bf16)"

    def card_version(self, family: Family) -> str:
        """See ``Webui.card_version``; where Forge does not know it, it reads the LoRA's metadata."""
        return family.short_title

    def require_gradients(self, model: Any, text: bool) -> None:
        """See ``Webui.require_gradients``; the UNet's storage dtype tells."""
        stored = model.forge_objects_original.unet.model.storage_dtype
        if stored not in _STORED:
            raise UserError(
                f"{model.sd_checkpoint_info.name_for_extra} is kept in {stored}, through which no gradient goes; set "
                "Diffusion in Low Bits to Automatic (or float8-e4m3fn), and take a version of it that is not "
                "quantised: fp16, bf16 or fp8."
            )

    def latent_scale(self, vae: Any) -> float:
        """See ``Webui.latent_scale``."""
        return vae.scaling_factor

    def latent_shift(self, vae: Any) -> float:
        """See ``Webui.latent_shift``."""
        return vae.shift_factor

    def load(self, patchers: list[Any], whole: bool) -> None:
        """See ``Webui.load``; Forge decides how much of a model waits."""
        memory_management.load_models_gpu(patchers)

    def is_loaded(self, patcher: Any, whole: bool) -> bool:
        """See ``Webui.is_loaded``."""
        return any(patcher is loaded.model for loaded in memory_management.current_loaded_models)

    def is_outdated(self, patcher: Any, replaced: Container[Path]) -> bool:
        """See ``Webui.is_outdated``; Forge goes by names, and would never merge the new file in its place."""
        return any(Path(patch[0]).resolve() in replaced for patch in patcher.lora_patches)

    def forget_files(self) -> None:
        """See ``Webui.forget_files``; Forge keeps what it has read by the file's name."""
        shared_state.networks().load_lora_state_dict.cache_clear()

    def load_networks(self, names: Sequence[str]) -> None:
        """See ``Webui.load_networks``."""
        ones = [1.0] * len(names)
        shared_state.networks().load_networks(list(names), ones, ones, [None] * len(names))

    def forwards(self, attend: Any) -> weights.Forwards:
        """See ``Webui.forwards``; the blocks of Flux do not add in place."""
        return weights.UNET

    def functions(self) -> dict[str, object]:
        """See ``Webui.functions``."""
        return {"attention_function": attention.attention_pytorch}


class Neo(Webui):
    """Haoming02's Forge Neo."""

    trainable = "a Stable Diffusion 1, XL, Flux.1 or Chroma checkpoint"
    # Forge's Chroma has no mask for captions of different lengths.
    denoisers = (*Webui.denoisers, "ChromaTransformer2DModel")
    wider_precision = "start Neo with --fp32-unet (or --bf16-unet)"

    def card_version(self, family: Family) -> str:
        """See ``Webui.card_version``; Neo goes by its presets alone, and never hides a card without one."""
        return family.preset or family.short_title

    def require_gradients(self, model: Any, text: bool) -> None:
        """See ``Webui.require_gradients``; the layers tell, the storage dtype is that of most weights in the file."""
        parts = model.forge_objects_original
        networks = [parts.unet.model.diffusion_model, *([parts.clip.cond_stage_model] if text else [])]
        layers = (module for network in networks for module in network.modules())
        obstacle = next(filter(None, map(weights.obstacle, layers)), None)
        if obstacle is not None:
            raise UserError(f"{model.sd_checkpoint_info.name_for_extra} {obstacle}.")

    def latent_scale(self, vae: Any) -> float:
        """See ``Webui.latent_scale``."""
        return vae.latent_format.scale_factor

    def latent_shift(self, vae: Any) -> float:
        """See ``Webui.latent_shift``; Stable Diffusion's formats have none."""
        return getattr(vae.latent_format, "shift_factor", 0.0)

    def load(self, patchers: list[Any], whole: bool) -> None:
        """See ``Webui.load``."""
        memory_management.load_models_gpu(patchers, force_full_load=whole)

    def is_loaded(self, patcher: Any, whole: bool) -> bool:
        """See ``Webui.is_loaded``; a model that has made room for another is still listed, and with --novram none is
        ever whole."""
        listed = any(patcher is loaded.model for loaded in memory_management.current_loaded_models)
        never_whole = memory_management.vram_state is memory_management.VRAMState.NO_VRAM
        return listed and (never_whole or not (whole and patcher.model.model_lowvram))

    def is_outdated(self, patcher: Any, replaced: Container[Path]) -> bool:
        """See ``Webui.is_outdated``; Neo tells merged weights apart by each reading of the files."""
        return False

    def forget_files(self) -> None:
        """See ``Webui.forget_files``; nothing is kept."""

    def load_networks(self, names: Sequence[str]) -> None:
        """See ``Webui.load_networks``."""
        ones = [1.0] * len(names)
        shared_state.networks().load_networks(list(names), ones, ones)

    def forwards(self, attend: Any) -> weights.Forwards:
        """See ``Webui.forwards``."""
        return weights.UNET | {
            "DoubleStreamBlock": partial(weights.double_stream_forward, attend=attend),
            "SingleStreamBlock": partial(weights.single_stream_forward, attend=attend),
        }

    def functions(self) -> dict[str, object]:
        """See ``Webui.functions``; Neo's kernels for rotary position embeddings have no backward."""
        return {"attention_function": attention.attention_pytorch, "apply_rope": weights.apply_rope}

    @contextmanager
    def without_references(self) -> Iterator[None]:
        """See ``Webui.without_references``; those of the last img2img stay for the next image."""
        before = args.dynamic_args.ref_latents
        args.dynamic_args.ref_latents = []
        try:
            yield
        finally:
            args.dynamic_args.ref_latents = before


WEBUI: Webui = Neo() if is_neo() else Forge()
