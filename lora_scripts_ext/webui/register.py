"""What the WebUI calls: the tab when it builds the page, the routes when its server starts."""

from __future__ import annotations

from typing import Any

from modules import script_callbacks

from ..hosts.webui import selection
from . import routes, settings, tab


def register() -> None:
    """Announce the tab and the routes; called again at every Reload UI."""
    script_callbacks.on_ui_tabs(tab.build)
    script_callbacks.on_ui_settings(settings.add)
    script_callbacks.on_app_started(routes.add)
    script_callbacks.on_model_loaded(_loaded)


def _loaded(model: Any) -> None:
    selection.note_loaded(model, str(model.sd_checkpoint_info.filename))
