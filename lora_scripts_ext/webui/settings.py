"""What the trainer adds to the WebUI's Settings."""

from __future__ import annotations

import gradio as gr
from modules import shared

from ..hosts.webui.generation_setting import REFUSE, SETTING, WAIT


def add() -> None:
    """Add the section "LoRA Trainer"."""
    option = shared.OptionInfo(
        WAIT,
        "Image requests while a LoRA is being trained",
        gr.Radio,
        {"choices": [WAIT, REFUSE]},
        section=("lora_trainer", "LoRA Trainer"),
    )
    shared.opts.add_option(SETTING, option)
