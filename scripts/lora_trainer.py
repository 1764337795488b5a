"""Registers the LoRA Trainer tab; all else is in the package ``lora_scripts_ext``."""

import html
import traceback

import gradio as gr
from modules import script_callbacks

try:
    from lora_scripts_ext.webui import register
except Exception as error:  # noqa: BLE001 - whatever is wrong, the tab must say it
    traceback.print_exc()
    problem = f"{type(error).__name__}: {error}"

    def broken_tab() -> list[tuple[gr.Blocks, str, str]]:
        """The tab, saying why there is nothing else in it."""
        with gr.Blocks(analytics_enabled=False) as tab:
            gr.HTML(
                "<p><b>LoRA Trainer could not be loaded.</b></p>"
                f"<p>{html.escape(problem)}</p>"
                "<p>Update the extension and the WebUI, then restart; the console shows the details.</p>"
            )
        return [(tab, "LoRA Trainer", "lora_trainer")]

    script_callbacks.on_ui_tabs(broken_tab)
else:
    register.register()
