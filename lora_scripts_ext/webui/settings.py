"""What the trainer adds to the WebUI's Settings, which keep it; the studio shows the same."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import gradio as gr
from modules import shared

from ..errors import UserError
from ..hosts.webui.generation_setting import REFUSE, SETTING, WAIT
from ..jobs.settings import AT_THE_TIME, CONTINUES, REVIEW, LibrarySettings, Setting

#: keys of the settings for the queue, and their values
START, IDLE_MINUTES, START_WINDOW = "lora_trainer_start", "lora_trainer_idle_minutes", "lora_trainer_window"
AT_ONCE, WHEN_IDLE = "as soon as possible, between two images", "when no image was generated for some minutes"
RESTART = "lora_trainer_restart"
WAITS = "waits until a training is started or resumed"

_MEANWHILE, _QUEUE = "While a LoRA is being trained", "Queue"
_DAY = 24 * 60
_OF_THE_LIBRARY = tuple(one.key for one in REVIEW)


class Options:
    """The settings as the WebUI has them."""

    #: those that the WebUI keeps
    own = (
        Setting(
            SETTING, _MEANWHILE, "Image requests while a LoRA is being trained",
            "The model that is being trained cannot draw for someone else at the same time.",
            "choice", WAIT, (WAIT, REFUSE),
        ),
        Setting(
            START, _QUEUE, "Queued trainings begin", "What has begun goes on.",
            "choice", AT_ONCE, (AT_ONCE, WHEN_IDLE, AT_THE_TIME),
        ),
        Setting(
            IDLE_MINUTES, _QUEUE, "Minutes without an image before queued trainings begin", "",
            "number", 10, low=0, high=_DAY, needs=(START, WHEN_IDLE),
        ),
        Setting(
            START_WINDOW, _QUEUE, "Time of day at which queued trainings begin",
            "In the server's time. What has begun goes on after it.",
            "window", "22:00-06:00", needs=(START, AT_THE_TIME),
        ),
        Setting(
            RESTART, _QUEUE, "After a restart of the WebUI the queue",
            "What was interrupted goes on from its last saved state, as soon as the queue does.",
            "choice", CONTINUES, (CONTINUES, WAITS),
        ),
    )  # fmt: skip
    all = (*own, *REVIEW)
    where = "the WebUI's Settings, LoRA Trainer"

    def __init__(self, library: LibrarySettings) -> None:
        """``library`` keeps what counts for its jobs wherever they run."""
        self._library = library
        self._lock = threading.Lock()

    def get(self, key: str) -> Any:
        """See ``Settings.get``."""
        if key in _OF_THE_LIBRARY:
            return self._library.get(key)
        return getattr(shared.opts, key, next(one.default for one in self.all if one.key == key))

    def is_editable(self, key: str) -> bool:
        """Whether the WebUI knows it, and was not started with its settings frozen."""
        if key in _OF_THE_LIBRARY:
            return True
        if key not in getattr(shared.opts, "data_labels", ()):
            return False
        try:
            # Setting what it is already is the only way to ask that all WebUIs have.
            setattr(shared.opts, key, self.get(key))
        except (AssertionError, RuntimeError):
            return False
        return True

    def set(self, values: Mapping[str, Any]) -> None:
        """As the WebUI's own page does it: set, then written into its file.

        Raises:
            UserError: the file cannot be written.
        """
        self._library.set({key: value for key, value in values.items() if key in _OF_THE_LIBRARY})
        own = {key: value for key, value in values.items() if key not in _OF_THE_LIBRARY}
        if not own:
            return
        with self._lock:
            for key, value in own.items():
                shared.opts.set(key, value)
            try:
                shared.opts.save(shared.config_filename)
            except (OSError, AssertionError, RuntimeError) as error:
                raise UserError(f"The WebUI cannot write its settings ({error}); they count until it ends.") from error


def add() -> None:
    """Add the section "LoRA Trainer"."""
    for one in Options.own:
        component = {"choice": gr.Radio, "number": gr.Number}.get(one.type)
        arguments = {"choices": list(one.choices)} if one.choices else None
        section = ("lora_trainer", "LoRA Trainer")
        shared.opts.add_option(
            one.key, shared.OptionInfo(one.default, one.label, component, arguments, section=section)
        )
