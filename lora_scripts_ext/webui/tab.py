"""The LoRA Trainer tab: the place where ``javascript/lora_trainer.js`` puts the studio."""

from __future__ import annotations

import gradio as gr

from . import guard

_HTML = (
    "<div id='lora_trainer_studio' data-page='{key}'><p>The LoRA Trainer opens here. If it does not, reload the page "
    "with JavaScript switched on, or open <a href='lora-trainer/studio/' target='_blank'>lora-trainer/studio/</a>.</p>"
    "</div>"
)


def build() -> list[tuple[gr.Blocks, str, str]]:
    """The tab as the WebUI's callback wants it."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.HTML(_HTML.format(key=guard.KEY))
    return [(blocks, "LoRA Trainer", "lora_trainer")]
