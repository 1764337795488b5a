"""The model that Forge or Neo has loaded: taken, trained on, given back as it was.

Importable only inside either.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from backend import memory_management
from modules import call_queue, sd_models, shared

from ....base_models.refusals import warnings_on_file
from ....config import Config
from ....contract import Inspection, ModelInfo, PredictionType
from ....errors import UserError
from ....families.family import Family
from ....families.registry import by_class
from ....models.noise_schedule import rescaled
from ....models.weights import sha256
from .. import generation_lock, selection, shared_state
from ..drawer import SETTINGS
from .chroma import ChromaSession
from .drawer import ForgeDrawer
from .flux import FluxSession
from .session import ForgeSession, load, loras_restored
from .webuis import WEBUI

_TRAINABLE = f"choose {WEBUI.trainable} (text to image) at the top of the page."
# The WebUI's words for what a model predicts.
_PREDICTIONS: dict[str, PredictionType] = {"epsilon": "epsilon", "v_prediction": "v_prediction", "const": "flow"}
# By the class of the denoiser in diffusers.
_SESSIONS: dict[str, type[ForgeSession]] = {
    "UNet2DConditionModel": ForgeSession,
    "FluxTransformer2DModel": FluxSession,
    "ChromaTransformer2DModel": ChromaSession,
}
# Settings that the WebUI looks at when it draws the next image.
_CHOICES = ("sd_model_checkpoint", "forge_additional_modules", "forge_unet_storage_dtype")


class ForgeHost:
    """Trains on ``shared.sd_model`` itself; LoRAs belong into the WebUI's own folder."""

    def __init__(self, stop: Callable[[], None] = lambda: None) -> None:
        """``stop`` is called when the user presses the WebUI's Interrupt."""
        self._stop = stop
        self._replaced: set[Path] = set()
        self._stamps = selection.stamps(_chosen_files())

    @contextmanager
    def open(self, config: Config) -> Iterator[ForgeSession]:
        """Wait for the queue, then hold the model until the end of the context. A model is loaded when it is first
        needed: if none is loaded, or another is chosen, that is done now.

        Raises:
            UserError: no model is chosen, one that cannot be trained on, or another one by now.
        """
        with ExitStack() as stack:
            stack.enter_context(generation_lock.acquired())
            if chosen_checkpoint():
                selection.require(config.base_model, _chosen_files(), self._stamps)
            model = _chosen_model()
            info = inspect(model, config)
            stack.enter_context(shared_state.announced("LoRA training", self._stop))
            stack.enter_context(shared_state.model_locked((memory_management, "unload_all_models")))
            stack.enter_context(shared_state.settings_deferred(_CHOICES))
            stack.enter_context(shared_state.random_states_restored())
            stack.enter_context(_bare(model, self._replaced))
            session = _session(model, info, config)
            stack.callback(session.close)
            stack.enter_context(session.taken())
            yield session

    @contextmanager
    def drawing(self, base_model: str) -> Iterator[ForgeDrawer]:
        """Wait for the queue, then draw with the model until the end of the context; see ``contract.Host.drawing``.

        Raises:
            UserError: no model is chosen, one of an unknown kind, or another one by now.
        """
        with ExitStack() as stack:
            stack.enter_context(generation_lock.acquired(generation_lock.DRAWING))
            if chosen_checkpoint():
                selection.require(base_model, _chosen_files(), self._stamps)
            model = _chosen_model()
            family = _drawable(model)
            stack.enter_context(shared_state.announced("Catalogue", self._stop))
            stack.enter_context(shared_state.model_locked((memory_management, "unload_all_models")))
            stack.enter_context(shared_state.settings_deferred(_CHOICES, shared_state.AFTER_DRAWING))
            stack.enter_context(shared_state.random_states_restored())
            stack.enter_context(shared_state.settings_changed(**SETTINGS))
            stack.enter_context(shared_state.without_history())
            stack.enter_context(_bare(model, ()))
            stack.enter_context(WEBUI.without_references())
            stack.enter_context(loras_restored(model))
            yield ForgeDrawer(model, family)

    def lora_dir(self) -> Path:
        """The WebUI's LoRA folder."""
        return shared_state.lora_dir()

    def publish(self, lora: Path) -> None:
        """List the file now; what an older file of its name has left in memory and in the weights does not come back.

        To be called while the model is held.
        """
        self._replaced.add(lora.resolve())
        WEBUI.forget_files()
        # The WebUI goes by names: it would not look again at a prompt that is the same as the last.
        shared.sd_model.current_lora_hash = ""
        shared_state.publish()

    def republish(self, lora: Path) -> None:
        """As :meth:`publish`, while no run holds the model.

        Where an older file of that name is merged into the weights, that is undone before the next image.
        """
        self.publish(lora)
        generation_lock.when_free(self._unmerge_replaced)

    def _unmerge_replaced(self) -> None:
        # Until it is first needed there is no model.
        if hasattr(shared.sd_model, "forge_objects_original"):
            with _bare(shared.sd_model, self._replaced):
                pass


def make(stop: Callable[[], None]) -> ForgeHost:
    """The host; ``stop`` is called when the user presses the WebUI's Interrupt."""
    return ForgeHost(stop)


def chosen_checkpoint() -> str:
    """Path of the checkpoint that is loaded, or will be when it is first needed; empty where there is none."""
    chosen = sd_models.model_data.forge_loading_parameters.get("checkpoint_info")
    return str(chosen.filename) if chosen is not None else ""


def inspect(model: Any, config: Config) -> ModelInfo:
    """The facts of the WebUI's ``model``, as far as training on it goes.

    Raises:
        UserError: it cannot be trained on.
    """
    family = _require_trainable(model)
    if config.train_text_encoder and not family.trains_text_encoders:
        raise UserError(f"train_text_encoder is on; {family.title}'s text encoders stay as they are, set it to false.")
    WEBUI.require_gradients(model, config.train_text_encoder)
    _require_known_task(model, family)
    return _info(model, config)


def inspection(config: Config) -> Inspection:
    """The WebUI's model for estimating a run; it may be in use at the same time. A checkpoint that is selected but not
    loaded is loaded, unless a run holds the model.

    Raises:
        UserError: there is none, or it cannot be trained on.
    """
    held = sd_models.model_data
    if held.forge_hash != str(held.forge_loading_parameters) and not generation_lock.held():
        with call_queue.queue_lock:
            _chosen_model()
    model = held.sd_model
    session = _session(model, inspect(model, config), config)
    try:
        return session.outline()
    finally:
        session.close()


def _chosen_model() -> Any:
    if not chosen_checkpoint():
        raise UserError(f"The WebUI has no checkpoint; {_TRAINABLE}")
    return sd_models.forge_model_reload()[0]


def _require_trainable(model: Any) -> Family:
    kind = type(model).__name__
    if not hasattr(model, "forge_objects"):
        raise UserError(f"The WebUI has no model loaded; {_TRAINABLE}")
    name = model.sd_checkpoint_info.name_for_extra
    family = by_class(kind)
    if family is None or family.denoiser not in WEBUI.denoisers:
        raise UserError(f"{name} is of a kind ({kind}) that cannot be trained on; {_TRAINABLE}")
    return family


def _drawable(model: Any) -> Family:
    """The model's family.

    Raises:
        UserError: there is no model, or one of no family that is known.
    """
    kind = type(model).__name__
    if not hasattr(model, "forge_objects"):
        raise UserError(f"The WebUI has no model loaded; {_TRAINABLE}")
    family = by_class(kind)
    if family is None:
        raise UserError(
            f"{model.sd_checkpoint_info.name_for_extra} is of a kind ({kind}) that is not known; {_TRAINABLE}"
        )
    return family


def _require_known_task(model: Any, family: Family) -> None:
    name, unet = model.sd_checkpoint_info.name_for_extra, model.forge_objects_original.unet.model
    if model.is_inpaint or unet.diffusion_model.in_channels != family.input_channels:
        raise UserError(f"{name} takes more than text (inpainting, depth or an image); {_TRAINABLE}")
    prediction = _PREDICTIONS.get(unet.predictor.prediction_type)
    if prediction is None or (prediction == "flow") != family.has_flow:
        raise UserError(
            f"{name} predicts in a way ({unet.predictor.prediction_type}) that is not supported; {_TRAINABLE}"
        )


def _info(model: Any, config: Config) -> ModelInfo:
    checkpoint, unet = model.sd_checkpoint_info, model.forge_objects_original.unet
    predictor, family = unet.model.predictor, _family(model)
    rescale = config.zero_terminal_snr
    if rescale is None:
        rescale = bool(model.model_config.ztsnr) or shared.opts.sd_noise_schedule == "Zero Terminal SNR"
    prediction = _PREDICTIONS[predictor.prediction_type]
    blocks = len(model.forge_objects_original.vae.first_stage_model.encoder.down)
    return ModelInfo(
        family=family.name,
        prediction_type=prediction if config.prediction_type == "auto" or family.has_flow else config.prediction_type,
        zero_terminal_snr=rescale and not family.has_flow,
        alphas_cumprod=_schedule(predictor, rescale),
        name=checkpoint.name_for_extra,
        hash=checkpoint.sha256 or sha256([Path(checkpoint.filename)]),
        warnings=warnings_on_file(Path(checkpoint.filename)),
        vae_factor=2 ** (blocks - 1),
        resolution=family.resolution(prediction),
        device=unet.load_device,
        dtype=unet.model.computation_dtype,
        vae=_modules_of_their_own(),
        variant=family.variant(unet.model.diffusion_model),
        card_version=WEBUI.card_version(family),
    )


def _schedule(predictor: Any, rescale: bool) -> torch.Tensor:
    """``ModelInfo.alphas_cumprod``: the stock schedule, even where the predictor's sigmas have been rescaled."""
    if predictor.prediction_type == "const":
        return torch.empty(0)
    alphas = predictor.alphas_cumprod.to("cpu", torch.float32).clone()
    return rescaled(alphas.double()).float() if rescale else alphas


def _family(model: Any) -> Family:
    """The family of a model that can be trained."""
    family = by_class(type(model).__name__)
    assert family is not None
    return family


def _session(model: Any, info: ModelInfo, config: Config) -> ForgeSession:
    return _SESSIONS[_family(model).denoiser](model, info, config)


def _modules_of_their_own() -> str:
    """What tells the VAE and text encoders that the user chose beside the checkpoint; empty where there are none."""
    files = _chosen_files()[1:]
    return sha256([Path(file) for file in files]) if files else ""


def _chosen_files() -> list[str]:
    """The checkpoint, and the VAE and text encoders chosen beside it."""
    beside = sd_models.model_data.forge_loading_parameters.get("additional_modules") or []
    return [chosen_checkpoint(), *map(str, beside)]


@contextmanager
def _bare(model: Any, replaced: Container[Path]) -> Iterator[None]:
    """The model as its checkpoint has it: the last prompt's LoRAs are taken out, and merged again afterwards.

    The WebUI keeps the unmerged weights and computes merged ones from them, so both ways end at the very same bits.
    """
    before = [one.model for one in memory_management.current_loaded_models if one.model is not None]
    try:
        load(model.forge_objects_original.unet, model.forge_objects_original.clip.patcher)
        yield
    finally:
        load(*(patcher for patcher in reversed(before) if not WEBUI.is_outdated(patcher, replaced)))
