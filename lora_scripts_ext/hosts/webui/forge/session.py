"""The session on the model that Forge or Neo has loaded: it encodes, predicts and draws with the WebUI's modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from backend.nn import unet as forge_unet
from modules import sd_models
from torch import Tensor, nn

from ....config import Config
from ....contract import Conditioning, FamilyName, ModelInfo
from ....families.registry import by_name
from ....models.outline import OriginalOutline
from ....models.text import TextEncoders
from ....models.tokenizer import T5Tokenizer, Tokenizer
from .. import shared_state
from ..session import WebUISession, in_float32
from .webuis import WEBUI
from .weights import UNET, Forwards, ordinary, out_of_place, patch_blocks


class ForgeSession(WebUISession):
    """``shared.sd_model`` without the LoRAs of the last prompt; see ``contract.Session``."""

    wider_precision = WEBUI.wider_precision
    #: where the WebUI keeps the model's blocks, which know their attention by a name there
    _network: ModuleType = forge_unet
    #: of the blocks that must be computed another way for gradients
    _forwards: Forwards = UNET

    def __init__(self, resident: Any, model: ModelInfo, config: Config) -> None:
        self._parts = resident.forge_objects_original
        self._chosen = sd_models.model_data.forge_loading_parameters
        self._trains_text = config.train_text_encoder
        # Layers that wait in the CPU's memory are copied for every use, and autograd would keep all copies.
        self._whole = not config.gradient_checkpointing
        self._ours = ExitStack()
        text = _text_encoders(self._parts.clip, model.family, config.clip_skip)
        super().__init__(
            resident, model, self._parts.unet.model.diffusion_model, self._parts.vae.first_stage_model, text
        )

    @contextmanager
    def taken(self) -> Iterator[None]:
        """The model is ready for gradients; without this it can only be looked at."""
        with out_of_place(self._unet, self._forwards), WEBUI.without_references():
            self._ours = self._fit()
            try:
                yield
            finally:
                self._ours.close()

    def outline(self) -> OriginalOutline:
        """The model on the meta device, for estimating a run; may be called while others generate with the model."""
        model = super().outline()
        patch_blocks(model.unet, self._forwards)
        return model

    def encode_text(self, captions: Sequence[str]) -> Conditioning:
        """Context [captions, 77, width] (and SDXL's pooled); differentiable when gradients are enabled."""
        with ExitStack() as stack:
            for text in self._text.models:
                stack.enter_context(self._at_hand(text))
                # As Forge does: all that follows is computed in the format of the embeddings.
                words = "text_model.embeddings" if hasattr(text, "text_model") else "shared"
                stack.enter_context(in_float32(text.get_submodule(words)))
            return self._text.encode(captions, self._parts.clip.patcher.load_device)

    def predict(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The UNet's raw output, float32 [batch, channels, height, width]."""
        device, dtype = self.model.device, self.model.dtype
        self._bring(self._parts.unet, *([self._parts.clip.patcher] if self._trains_text else []))
        vector = None
        if conditioning.pooled is not None and conditioning.time_ids is not None:
            vector = self._vector(conditioning.pooled, conditioning.time_ids).to(dtype)
        # The options are where Forge's extensions leave their hooks, and the UNet its notes: new for every call.
        output = self._unet(
            noisy.to(device, dtype),
            timesteps.to(device),
            context=conditioning.context.to(device, dtype),
            y=vector,
            transformer_options={},
        )
        return output.float()

    def release_encoders(self, text: bool) -> None:
        """Nothing to do: Forge frees the device of what is in the way."""

    def close(self) -> None:
        """Let go of the model."""
        super().close()
        del self._parts

    def _vector(self, pooled: Tensor, time_ids: Tensor) -> Tensor:
        """SDXL's vector: the pooled text, then the sizes, each number as a timestep embedding."""
        sizes = time_ids.to(self.model.device, torch.float32).unbind(dim=1)
        parts = [pooled.to(self.model.device, torch.float32), *map(self._resident.embedder, sizes)]
        return torch.cat(parts, dim=1)

    def _latent_scale(self) -> float:
        return WEBUI.latent_scale(self._parts.vae.first_stage_model)

    def _latent_shift(self) -> float:
        return WEBUI.latent_shift(self._parts.vae.first_stage_model)

    @contextmanager
    def _at_hand(self, module: nn.Module) -> Iterator[None]:
        self._bring(self._parts.vae.patcher if module is self._vae else self._parts.clip.patcher)
        yield

    @contextmanager
    def _drawing(self, lora: Path | None) -> Iterator[None]:
        """The WebUI's own tensors, and the file's LoRA in its lists; what a prompt changes is put back."""
        with ExitStack() as stack:
            stack.enter_context(self._theirs())
            stack.callback(self._load, self._parts.unet, self._parts.clip.patcher)
            # Someone may have chosen another checkpoint meanwhile: it is loaded after the run.
            chosen = sd_models.model_data.forge_loading_parameters
            sd_models.model_data.forge_loading_parameters = self._chosen
            WEBUI.forget_files()
            stack.enter_context(loras_restored(self._resident))
            if lora is not None:
                stack.enter_context(shared_state.listed([shared_state.entry(shared_state.PREVIEW, lora)]))
            try:
                yield
            finally:
                sd_models.model_data.forge_loading_parameters = chosen

    def _fit(self) -> ExitStack:
        """Put in place what gradients need."""
        with ExitStack() as stack:
            roots = (self._parts.unet.model, self._parts.clip.cond_stage_model, self._vae)
            stack.enter_context(ordinary(roots))
            for root in roots:
                stack.enter_context(shared_state.in_eval_mode(root))
            functions = {name: one for name, one in WEBUI.functions().items() if hasattr(self._network, name)}
            stack.enter_context(shared_state.replaced(self._network, functions))
            # A preview may have left some behind.
            stack.enter_context(WEBUI.without_references())
            return stack.pop_all()

    @contextmanager
    def _theirs(self) -> Iterator[None]:
        """Meanwhile the WebUI finds its own tensors and functions in place, and may move them."""
        self._ours.close()
        try:
            yield
        finally:
            self._ours = self._fit()

    def _bring(self, *patchers: Any) -> None:
        """Parts of the model are on their devices."""
        if not all(WEBUI.is_loaded(patcher, self._whole) for patcher in patchers):
            with self._theirs():
                self._load(*patchers)

    def _load(self, *patchers: Any) -> None:
        load(*patchers, whole=self._whole)


@contextmanager
def loras_restored(model: Any) -> Iterator[None]:
    """Afterwards the WebUI thinks that the model uses the LoRAs that it used before."""
    nets = shared_state.networks()
    names = ("forge_objects", "forge_objects_after_applying_lora", "current_lora_hash")
    before, loaded = {name: getattr(model, name) for name in names}, list(nets.loaded_networks)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(model, name, value)
        nets.loaded_networks[:] = loaded


@torch.inference_mode()
def load(*patchers: Any, whole: bool = False) -> None:
    """Bring parts of a model to their devices; see ``Webui.load``."""
    WEBUI.load(list(patchers), whole)


def _text_encoders(clip: Any, family: FamilyName, clip_skip: int) -> TextEncoders:
    names = by_name(family).component_names
    models = [getattr(clip.cond_stage_model, name).transformer for name in names]
    tokenizers = [_tokenizer(getattr(clip.tokenizer, name), model) for name, model in zip(names, models, strict=True)]
    return TextEncoders(models, tokenizers, family, clip_skip)


def _tokenizer(theirs: Any, model: Any) -> Tokenizer | T5Tokenizer:
    if hasattr(model, "text_model"):
        return Tokenizer(theirs, None, model.config.max_position_embeddings)
    return T5Tokenizer(theirs)
