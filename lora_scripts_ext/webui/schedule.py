"""When the WebUI lets jobs begin: at once, when no image was drawn for a while, or at a time of day."""

from __future__ import annotations

import time

from modules import shared

from ..errors import UserError
from ..jobs.settings import AT_THE_TIME
from ..library import window
from .settings import AT_ONCE, IDLE_MINUTES, RESTART, START, START_WINDOW, WAITS, WHEN_IDLE


class Schedule:
    """Follows when the WebUI drew its last image."""

    def __init__(self) -> None:
        self._busy_at = time.monotonic()

    def look(self) -> None:
        """To be called often: remembers whether the WebUI is busy now."""
        if shared.state.job:
            self._busy_at = time.monotonic()

    def waits_for(self) -> str:
        """Why no training may begin now, as a sentence; empty where it may."""
        choice = getattr(shared.opts, START, AT_ONCE)
        if choice == WHEN_IDLE:
            minutes = float(getattr(shared.opts, IDLE_MINUTES, 10))
            if time.monotonic() - self._busy_at < 60 * minutes:
                return f"Waits until no image was generated for {minutes:g} minutes, as the settings say."
        if choice == AT_THE_TIME:
            text = str(getattr(shared.opts, START_WINDOW, ""))
            try:
                if not window.is_open(text, time.time()):
                    return f"Waits for its time of day, {text}, as the settings say."
            except UserError as error:
                return f"Settings > LoRA Trainer: {error}"
        return ""

    def waits_after_restart(self) -> bool:
        """Whether the queue does not go on by itself after the WebUI was started."""
        return bool(getattr(shared.opts, RESTART, "") == WAITS)
