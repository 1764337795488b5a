"""The model that AUTOMATIC1111's WebUI has loaded: taken, trained on, given back as it was.

Importable only inside the WebUI.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from modules import call_queue, devices, lowvram, sd_hijack, sd_models, sd_unet, sd_vae, shared
from torch import nn

from ....base_models.refusals import warnings_on_file
from ....config import Config
from ....contract import Inspection, ModelInfo, PredictionType
from ....errors import UserError
from ....families.family import Family
from ....families.registry import by_encoders
from ....models.noise_schedule import rescaled
from ....models.weights import sha256
from .. import generation_lock, selection, shared_state
from ..drawer import SETTINGS
from .drawer import A1111Drawer
from .session import A1111Session, merged_no_longer

_TRAINABLE = "load a Stable Diffusion 1, 2 or XL checkpoint (text to image) in the WebUI first."
# Settings that change the model at once, or when the queue is free.
_REBUILDING = (
    "sd_model_checkpoint", "sd_vae", "sd_vae_overrides_per_model_preferences", "cross_attention_optimization",
    "fp8_storage", "cache_fp16_weight",
)  # fmt: skip
_ATTENTION = "sdp - scaled dot product"


class A1111Host:
    """Trains on ``shared.sd_model`` itself; LoRAs belong into the WebUI's own folder."""

    def __init__(self, stop: Callable[[], None] = lambda: None) -> None:
        """``stop`` is called when the user presses the WebUI's Interrupt."""
        self._stop = stop
        self._replaced: set[str] = set()
        self._stamps = selection.stamps([chosen_checkpoint()])

    @contextmanager
    def open(self, config: Config) -> Iterator[A1111Session]:
        """Wait for the queue, then hold the model until the end of the context. The chosen checkpoint is loaded if the
        last image was drawn with another (a refiner, or one that a request named).

        Raises:
            UserError: no model is loaded, one that cannot be trained on, or another one is chosen by now.
        """
        with ExitStack() as stack:
            stack.enter_context(generation_lock.acquired())
            if shared.sd_model is not None:
                selection.require(config.base_model, [chosen_checkpoint()], self._stamps)
            model = _chosen_model()
            info = inspect(model, config)
            stack.enter_context(shared_state.announced("LoRA training", self._stop))
            stack.enter_context(shared_state.model_locked())
            stack.enter_context(shared_state.settings_locked(_REBUILDING))
            stack.enter_context(shared_state.random_states_restored())
            stack.enter_context(shared_state.frozen(model))
            stack.enter_context(_bare(model, self._replaced))
            stack.enter_context(_attention(_ATTENTION))
            session = A1111Session(model, info, config)
            stack.callback(session.close)
            yield session

    @contextmanager
    def drawing(self, base_model: str) -> Iterator[A1111Drawer]:
        """Wait for the queue, then draw with the model until the end of the context; see ``contract.Host.drawing``.

        Raises:
            UserError: no model is loaded, one of an unknown kind, or another one is chosen by now.
        """
        with ExitStack() as stack:
            stack.enter_context(generation_lock.acquired(generation_lock.DRAWING))
            if shared.sd_model is not None:
                selection.require(base_model, [chosen_checkpoint()], self._stamps)
            model = _chosen_model()
            family = _drawable(model)
            stack.enter_context(shared_state.announced("Catalogue", self._stop))
            stack.enter_context(shared_state.model_locked())
            stack.enter_context(shared_state.settings_locked(_REBUILDING))
            stack.enter_context(shared_state.random_states_restored())
            stack.enter_context(shared_state.settings_changed(**SETTINGS))
            stack.enter_context(shared_state.without_history())
            stack.enter_context(without_networks(model, ()))
            stack.enter_context(merged_no_longer(model))
            stack.enter_context(_without_hypernetworks())
            stack.enter_context(_without_hypertile(model))
            stack.callback(sd_hijack.model_hijack.apply_circular, sd_hijack.model_hijack.circular_enabled)
            yield A1111Drawer(model, family)

    def lora_dir(self) -> Path:
        """The WebUI's LoRA folder."""
        return shared_state.lora_dir()

    def publish(self, lora: Path) -> None:
        """List the file now; what an older file of its name has left in memory and in the weights does not come back.

        To be called while the model is held.
        """
        self._replaced.add(lora.stem)
        shared_state.networks().networks_in_memory.pop(lora.stem, None)
        shared_state.publish()

    def republish(self, lora: Path) -> None:
        """As :meth:`publish`, while no run holds the model.

        Where an older file of that name is merged into the weights, that is undone before the next image.
        """
        self.publish(lora)
        generation_lock.when_free(self._unmerge_replaced)

    def _unmerge_replaced(self) -> None:
        # Of all that are in memory. Not by shared.sd_model, which would load one.
        for model in sd_models.model_data.loaded_sd_models:
            with without_networks(model, self._replaced):
                pass


def inspect(model: Any, config: Config) -> ModelInfo:
    """The facts of the WebUI's ``model``, as far as training on it goes.

    Raises:
        UserError: it cannot be trained on.
    """
    _require_trainable(model, config)
    return _info(model, config)


def make(stop: Callable[[], None]) -> A1111Host:
    """The host; ``stop`` is called when the user presses the WebUI's Interrupt."""
    return A1111Host(stop)


def chosen_checkpoint() -> str:
    """Path of the checkpoint of the next image; empty where none has been loaded yet."""
    model = _resident()
    if model is None:
        return ""
    try:
        return str(sd_models.select_checkpoint().filename)
    except FileNotFoundError:
        # All files are gone; the model is still there.
        return str(model.sd_checkpoint_info.filename)


def inspection(config: Config) -> Inspection:
    """The WebUI's model for estimating a run; it may be in use at the same time. A checkpoint that is selected but not
    loaded is loaded, unless a run holds the model.

    Raises:
        UserError: it cannot be trained on.
    """
    model = _resident()
    if model is not None and model.sd_checkpoint_info.filename != chosen_checkpoint() and not generation_lock.held():
        with call_queue.queue_lock:
            model = _chosen_model()
    session = A1111Session(model, inspect(model, config), config)
    try:
        return session.outline()
    finally:
        session.close()


def _resident() -> Any:
    # Not shared.sd_model: asking for it would load one.
    return sd_models.model_data.sd_model


def _chosen_model() -> Any:
    """The chosen checkpoint, loaded; None where there is none. To be called while nothing is drawn."""
    model = shared.sd_model
    return sd_models.reload_model_weights(model) if model is not None else None


def _require_trainable(model: Any, config: Config) -> None:
    if model is None:
        raise UserError(f"The WebUI has no model loaded; {_TRAINABLE}")
    name = model.sd_checkpoint_info.name_for_extra
    if not (model.is_sd1 or model.is_sd2 or model.is_sdxl) or model.is_ssd:
        raise UserError(f"{name} is of a kind that cannot be trained on; {_TRAINABLE}")
    channels = model.model.diffusion_model.input_blocks[0][0].weight.shape[1]
    if model.model.conditioning_key != "crossattn" or channels != 4:
        raise UserError(f"{name} takes more than text (inpainting, depth or an image); {_TRAINABLE}")
    if model.is_sdxl and len(model.conditioner.embedders) < 5:
        raise UserError(f"{name} is the SDXL refiner; {_TRAINABLE}")
    if devices.fp8:
        raise UserError(
            "The model is kept in fp8, whose gradients are too coarse here; set FP8 weight to Disable in Settings > "
            "Optimizations and load the model again."
        )
    if lowvram.is_enabled(model) and shared.cmd_opts.lowvram:
        raise UserError("--lowvram moves every layer on each call; start the WebUI with --medvram to train.")
    if lowvram.is_enabled(model) and config.train_text_encoder:
        raise UserError(
            "train_text_encoder needs the text encoder beside the UNet, which --medvram keeps apart; leave it off, or "
            "start the WebUI without --medvram."
        )


def _drawable(model: Any) -> Family:
    """The model's family.

    Raises:
        UserError: there is no model, or one of none that is known.
    """
    if model is None:
        raise UserError(f"The WebUI has no model loaded; {_TRAINABLE}")
    if not (model.is_sd1 or model.is_sd2 or model.is_sdxl):
        raise UserError(f"{model.sd_checkpoint_info.name_for_extra} is of a kind that is not known; {_TRAINABLE}")
    return _family(model)


def _family(model: Any) -> Family:
    return by_encoders([False, True] if model.is_sdxl else [model.is_sd2])


def _info(model: Any, config: Config) -> ModelInfo:
    checkpoint = model.sd_checkpoint_info
    family = _family(model)
    prediction: PredictionType = "v_prediction" if model.parameterization == "v" else "epsilon"
    alphas = model.alphas_cumprod_original.detach().to("cpu", torch.float32)
    rescale = config.zero_terminal_snr
    if rescale is None:
        rescale = shared.opts.sd_noise_schedule == "Zero Terminal SNR"
    encoder = model.first_stage_model.encoder
    return ModelInfo(
        family=family.name,
        prediction_type=prediction if config.prediction_type == "auto" else config.prediction_type,
        zero_terminal_snr=rescale,
        alphas_cumprod=rescaled(alphas.double()).float() if rescale else alphas,
        name=checkpoint.name_for_extra,
        hash=checkpoint.sha256 or sha256([Path(checkpoint.filename)]),
        warnings=warnings_on_file(Path(checkpoint.filename)),
        vae_factor=2 ** (encoder.num_resolutions - 1),
        resolution=family.resolution(prediction),
        device=devices.device,
        dtype=devices.dtype_unet,
        vae=_vae_of_its_own(),
    )


def _vae_of_its_own() -> str:
    """What tells the VAE that the user chose beside the checkpoint; empty where there is none."""
    if sd_vae.loaded_vae_file is None:
        return ""
    return sha256([Path(sd_vae.loaded_vae_file)])


@contextmanager
def _bare(model: Any, replaced: Container[str]) -> Iterator[None]:
    """The model as its checkpoint has it: what the last prompt and the settings have put on it is taken off, and put
    on again afterwards."""
    with ExitStack() as stack:
        stack.enter_context(without_networks(model, replaced))
        stack.enter_context(_without_hypernetworks())
        stack.enter_context(_without_hypertile(model))
        ratio = getattr(model, "applied_token_merged_ratio", 0)
        stack.callback(sd_models.apply_token_merging, model, ratio)
        sd_models.apply_token_merging(model, 0)
        stack.callback(sd_hijack.model_hijack.apply_circular, sd_hijack.model_hijack.circular_enabled)
        sd_hijack.model_hijack.apply_circular(False)
        if sd_unet.current_unet is not None:
            stack.callback(sd_unet.apply_unet)
            sd_unet.apply_unet("None")
        yield


@contextmanager
def without_networks(model: nn.Module, replaced: Container[str]) -> Iterator[None]:
    """The LoRAs that the last prompt merged into the weights are taken out, and merged again afterwards.

    The WebUI keeps the unmerged weights and computes merged ones from them, so both ways end at the very same bits.
    Those whose file is by then another stay out: the WebUI, which goes by names, would not merge the new one.
    """
    nets = shared_state.networks()
    merged = list(nets.loaded_networks)
    layers = [layer for layer in model.modules() if getattr(layer, "network_current_names", ())]
    try:
        nets.loaded_networks.clear()
        _apply_networks(layers)
        yield
    finally:
        nets.loaded_networks[:] = [net for net in merged if net.network_on_disk.name not in replaced]
        _apply_networks(layers)


@torch.no_grad()
def _apply_networks(layers: list[nn.Module]) -> None:
    for layer in layers:
        shared_state.networks().network_apply_weights(layer)


@contextmanager
def _without_hypernetworks() -> Iterator[None]:
    loaded = list(shared.loaded_hypernetworks)
    shared.loaded_hypernetworks.clear()
    try:
        yield
    finally:
        shared.loaded_hypernetworks[:] = loaded


@contextmanager
def _without_hypertile(model: nn.Module) -> Iterator[None]:
    """Its wrappers come off, the idle ones too: each goes on with the attention that was set when it was made."""
    tiled = {layer: layer.forward for layer in model.modules() if hasattr(layer, "__webui_hypertile_params")}
    for layer in tiled:
        del layer.forward
    try:
        yield
    finally:
        for layer, forward in tiled.items():
            layer.forward = forward


@contextmanager
def _attention(title: str) -> Iterator[None]:
    """Attention computed as ``title`` says, which has a fast backward pass; afterwards as the user set it."""
    before = sd_hijack.current_optimizer
    if before is not None and before.title() == title:
        yield
        return
    sd_hijack.model_hijack.apply_optimizations(title)
    try:
        yield
    finally:
        sd_hijack.model_hijack.apply_optimizations(before.title() if before is not None else "None")
