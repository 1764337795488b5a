"""The session on AUTOMATIC1111's loaded model: it encodes, predicts and draws with the WebUI's own modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from modules import devices, lowvram, sd_hijack, sd_models
from torch import Tensor, nn

from ....config import Config
from ....contract import Conditioning, FamilyName, ModelInfo, named_parts
from ....families.registry import by_name
from ....models.open_clip import OpenClipText
from ....models.text import TextEncoders
from ....models.tokenizer import SHIPPED, Tokenizer
from .. import shared_state
from ..session import WebUISession

_SIZES = ("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple")


class A1111Session(WebUISession):
    """``shared.sd_model``; see ``contract.Session``."""

    def __init__(self, resident: Any, model: ModelInfo, config: Config) -> None:
        self._clip_skip = config.clip_skip
        text = _text_encoders(resident, model.family, config.clip_skip)
        super().__init__(resident, model, resident.model.diffusion_model, resident.first_stage_model, text)

    def parts(self) -> dict[str, nn.Module]:
        """UNet, VAE and text encoders, by what errors call them; of open_clip's the whole tower."""
        return named_parts(self._unet, self._vae, _towers(self._resident, self.model.family))

    def encode_text(self, captions: Sequence[str]) -> Conditioning:
        """Context [captions, 77, width] (and SDXL's pooled); differentiable when gradients are enabled."""
        with ExitStack() as stack:
            for module in _towers(self._resident, self.model.family):
                stack.enter_context(self._at_hand(module))
            if lowvram.is_enabled(self._resident):
                self._text = _text_encoders(self._resident, self.model.family, self._clip_skip, self._text.cut)
            stack.enter_context(devices.autocast())
            return self._text.encode(captions, self.model.device)

    def predict(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The UNet's raw output, float32 [batch, channels, height, width]."""
        device, dtype = self.model.device, self.model.dtype
        context = conditioning.context.to(device, dtype)
        cond: Any = {"c_crossattn": [context]}
        if conditioning.pooled is not None and conditioning.time_ids is not None:
            vector = self._vector(conditioning.pooled, conditioning.time_ids)
            cond = {"crossattn": context, "vector": vector.to(dtype)}
        with devices.autocast():
            output = self._resident.apply_model(noisy.to(device, dtype), timesteps.to(device), cond)
        return output.float()

    def release_encoders(self, text: bool) -> None:
        """Nothing to do: without ``--medvram`` the user keeps all on the device, with it the WebUI moves them."""

    def _vector(self, pooled: Tensor, time_ids: Tensor) -> Tensor:
        """SDXL's vector: the pooled text, then the sizes, each number as a timestep embedding."""
        embedders = {embedder.input_key: embedder for embedder in self._resident.conditioner.embedders}
        sizes = time_ids.to(self.model.device, torch.float32).split(2, dim=1)
        parts = [embedders[key](size) for key, size in zip(_SIZES, sizes, strict=True)]
        return torch.cat([pooled.to(self.model.device, torch.float32), *(x.float() for x in parts)], dim=1)

    def _latent_scale(self) -> float:
        return self._resident.scale_factor

    @contextmanager
    def _at_hand(self, module: nn.Module) -> Iterator[None]:
        """With ``--medvram``: ``module`` alone on the device, and on the CPU afterwards."""
        if not lowvram.is_enabled(self._resident):
            yield
            return
        lowvram.send_everything_to_cpu()
        module.to(devices.device)
        try:
            yield
        finally:
            module.to(devices.cpu)

    @contextmanager
    def _drawing(self, lora: Path | None) -> Iterator[None]:
        """The user's attention, and the file's LoRA in the WebUI's lists."""
        ours = sd_hijack.current_optimizer
        sd_hijack.model_hijack.apply_optimizations()
        try:
            with ExitStack() as stack:
                # The refresh button of the cards may have chosen the checkpoint of --ckpt meanwhile.
                kept = {"reload_model_weights": lambda *_, **__: self._resident}
                stack.enter_context(shared_state.replaced(sd_models, kept))
                if lora is not None:
                    stack.enter_context(shared_state.listed([shared_state.entry(shared_state.PREVIEW, lora)]))
                    stack.enter_context(merged_no_longer(self._resident))
                yield
        finally:
            sd_hijack.model_hijack.apply_optimizations(ours.title() if ours is not None else "None")


def _wrapped(resident: Any, family: FamilyName) -> list[Any]:
    """The embedders inside the WebUI's prompt parsers."""
    if by_name(family).has_time_ids:
        return [embedder.wrapped for embedder in resident.conditioner.embedders[:2]]
    return [resident.cond_stage_model.wrapped]


def _towers(resident: Any, family: FamilyName) -> list[nn.Module]:
    wrapped = _wrapped(resident, family)
    return [embedder.model if hasattr(embedder, "model") else embedder.transformer for embedder in wrapped]


def _text_encoders(resident: Any, family: FamilyName, clip_skip: int, cut: set[str] | None = None) -> TextEncoders:
    models, tokenizers = [], []
    for embedder, layout in zip(_wrapped(resident, family), by_name(family).text_encoders, strict=True):
        if hasattr(embedder, "model"):
            tower = embedder.model
            models.append(OpenClipText(tower, unused_layers=layout.unused_layers))
            length, vocabulary = len(tower.positional_embedding), tower.token_embedding.wrapped.num_embeddings
            tokenizers.append(Tokenizer.read(SHIPPED, 0, length, vocabulary))
        else:
            models.append(embedder.transformer)
            length = embedder.transformer.config.max_position_embeddings
            tokenizers.append(Tokenizer(embedder.tokenizer, None, length))
    if cut is not None:
        tokenizers[0].cut = cut
    return TextEncoders(models, tokenizers, family, clip_skip)


@contextmanager
def merged_no_longer(model: nn.Module) -> Iterator[None]:
    """Afterwards the weights show no trace of what has been merged meanwhile."""
    nets = shared_state.networks()
    untouched = [layer for layer in model.modules() if getattr(layer, "network_weights_backup", None) is None]
    try:
        yield
    finally:
        nets.load_networks([])
        with torch.no_grad():
            for layer in model.modules():
                if getattr(layer, "network_current_names", ()):
                    nets.network_apply_weights(layer)
        for layer in untouched:
            if getattr(layer, "network_weights_backup", None) is not None:
                nets.network_reset_cached_weight(layer)
        for name in [name for name in nets.networks_in_memory if name.startswith(shared_state.PREVIEW)]:
            del nets.networks_in_memory[name]
