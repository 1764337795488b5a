"""Finished images drawn by Forge or Neo.

Importable only inside either.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from backend.args import dynamic_args
from modules import sd_models

from ....contract import PredictionType
from ....families.family import Family
from ..drawer import WebUIDrawer
from ..regional import Target
from .webuis import WEBUI


class ForgeDrawer(WebUIDrawer):
    """See ``contract.Drawer``."""

    _uncached = (None, None, None)

    def __init__(self, resident: Any, family: Family) -> None:
        parts = resident.forge_objects_original
        levels = len(parts.vae.first_stage_model.encoder.down)
        super().__init__(resident, family, parts.unet.load_device, 2 ** (levels - 1))
        self._chosen = sd_models.model_data.forge_loading_parameters

    def _prediction_type(self) -> PredictionType:
        kind = self._resident.forge_objects_original.unet.model.predictor.prediction_type
        return "v_prediction" if kind == "v_prediction" else "flow" if kind == "const" else "epsilon"

    def _target(self) -> Target:
        unet = self._resident.forge_objects_original.unet
        model = unet.model
        return Target(model.diffusion_model, self._family.name, unet.load_device, model.computation_dtype)

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """Someone may have chosen another checkpoint meanwhile: it is loaded afterwards."""
        data = sd_models.model_data
        chosen, data.forge_loading_parameters = data.forge_loading_parameters, self._chosen
        try:
            yield
        finally:
            data.forge_loading_parameters = chosen

    def _fits(self, name: str) -> bool:
        # Nunchaku's int4 models keep LoRAs in a list of their own, and match them when they draw.
        if getattr(dynamic_args, "nunchaku", False):
            return True
        bare = self._resident.forge_objects_original
        # As before each image: what is there now belongs to the user's last one.
        self._resident.forge_objects = parts = bare.shallow_copy()
        WEBUI.load_networks([name])
        fits = parts.unet is not bare.unet or parts.clip is not bare.clip
        WEBUI.load_networks([])
        return fits

    def _forget_files(self) -> None:
        """Forge goes by the files' names."""
        WEBUI.forget_files()
        self._resident.current_lora_hash = ""

    def _guidance(self, scale: float) -> dict[str, Any]:
        if self._family.takes_guidance:
            return {"cfg_scale": 1.0, "distilled_cfg_scale": scale, "scheduler": "Simple"}
        return {"cfg_scale": scale, "scheduler": "Simple"} if self._family.has_flow else {"cfg_scale": scale}
