"""What the trainer adds to the WebUI's Settings."""

from __future__ import annotations

from typing import Any

import gradio as gr
from modules import shared

from ..hosts.webui.generation_setting import REFUSE, SETTING, WAIT

#: keys of the settings for the queue, and their values
START, IDLE_MINUTES, START_WINDOW = "lora_trainer_start", "lora_trainer_idle_minutes", "lora_trainer_window"
AT_ONCE, WHEN_IDLE, AT_THE_TIME = (
    "as soon as possible, between two images",
    "when no image was generated for some minutes",
    "only at a time of day",
)
RESTART = "lora_trainer_restart"
CONTINUES, WAITS = "continues by itself", "waits until a training is started or resumed"


def add() -> None:
    """Add the section "LoRA Trainer"."""
    radio = gr.Radio
    _option(SETTING, WAIT, "Image requests while a LoRA is being trained", radio, choices=[WAIT, REFUSE])
    _option(START, AT_ONCE, "Queued trainings begin", radio, choices=[AT_ONCE, WHEN_IDLE, AT_THE_TIME])
    _option(IDLE_MINUTES, 10, "Minutes without an image before queued trainings begin", gr.Number)
    _option(START_WINDOW, "22:00-06:00", "Time of day at which queued trainings begin")
    _option(RESTART, CONTINUES, "After a restart of the WebUI the queue", radio, choices=[CONTINUES, WAITS])


def _option(key: str, default: Any, label: str, component: Any = None, **arguments: Any) -> None:
    option = shared.OptionInfo(default, label, component, arguments or None, section=("lora_trainer", "LoRA Trainer"))
    shared.opts.add_option(key, option)
