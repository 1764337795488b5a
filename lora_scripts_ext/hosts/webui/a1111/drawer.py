"""Finished images drawn by AUTOMATIC1111.

Importable only inside the WebUI.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modules import devices, sd_models

from ....contract import PredictionType
from ....families.family import Family
from .. import shared_state
from ..drawer import WebUIDrawer
from ..regional import Target


class A1111Drawer(WebUIDrawer):
    """See ``contract.Drawer``."""

    _uncached = (None, None)

    def __init__(self, resident: Any, family: Family) -> None:
        levels = resident.first_stage_model.encoder.num_resolutions
        super().__init__(resident, family, devices.device, 2 ** (levels - 1))

    def _prediction_type(self) -> PredictionType:
        return "v_prediction" if self._resident.parameterization == "v" else "epsilon"

    def _target(self) -> Target:
        return Target(self._resident.model.diffusion_model, self._family.name, devices.device, devices.dtype_unet)

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """The refresh button of the cards may have chosen the checkpoint of --ckpt meanwhile."""
        with shared_state.replaced(sd_models, {"reload_model_weights": lambda *_, **__: self._resident}):
            yield

    def _fits(self, name: str) -> bool:
        nets = shared_state.networks()
        nets.load_networks([name], [1.0], [1.0], [None])
        fits = any(net.modules for net in nets.loaded_networks)
        nets.load_networks([])
        return fits

    def _forget_files(self) -> None:
        """Nothing to do: A1111 keeps LoRAs by the names they are listed by."""
