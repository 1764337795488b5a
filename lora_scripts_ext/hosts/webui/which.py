"""Which WebUI this is, and what knows its model."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from ...errors import UserError

_MODULES = {"a1111": "a1111", "Forge": "forge", "Forge Neo": "forge"}


def model_module() -> ModuleType:
    """``hosts.webui.a1111.host`` or ``hosts.webui.forge.host``; either can be imported in its own WebUIs only.

    Raises:
        UserError: training inside this WebUI is not supported.
    """
    name = _name()
    if name not in _MODULES:
        raise UserError(
            f"Training inside {name} is not supported yet; run python -m lora_scripts_ext serve --base-model FILE in "
            "the extension's folder and train on its page instead: the LoRA works here all the same."
        )
    return importlib.import_module(f".{_MODULES[name]}.host", __package__)


def is_neo() -> bool:
    """Whether this is Forge Neo."""
    return _name() == "Forge Neo"


def _name() -> str:
    """``a1111``, ``Forge``, ``Forge Neo``, or how another WebUI calls itself."""
    if _has("modules_forge"):
        if not _has("backend"):
            return "Forge Classic or reForge"
        # Neo goes on from Forge with a model manager of its own, and keeps foreign packages here.
        return "Forge Neo" if _has("modules_forge.packages") else "Forge"
    if _has("modules.processing_diffusers"):
        return "SD.Next"
    return "a1111" if _has("modules.sd_hijack") and _has("modules.lowvram") else "this WebUI"


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
