"""Runs inside a WebUI's own Python, as ``inside.py`` does: what the WebUI takes a finished LoRA's card for.

The last line of stdout is one JSON object.
"""

from __future__ import annotations

import json

from inside import KIND, settings, webui
from modules import shared, ui_extra_networks

from lora_scripts_ext.training import run

NAME = "carded"


def understood() -> dict[str, object]:
    """The kind of model that the card is for in the WebUI's words, and with which of Neo's presets it is shown."""
    run.train(settings(NAME, max_steps=1, preview_epochs=0), webui.Host())
    page = next(page for page in ui_extra_networks.extra_pages if page.name == "lora")
    item = page.create_item(NAME)
    # Forge keeps what it filters by apart from what the card's form shows.
    report = {"kind": item.get("sd_version"), "filtered by": item.get("sd_version_str"), "shown": []}
    if KIND == "neo":
        shared.opts.data["lora_preset_filter"] = True
        for preset in ("sd", "xl", "flux"):
            shared.opts.data["forge_preset"] = preset
            if page.create_item(NAME) is not None:
                report["shown"].append(preset)
    return report


if __name__ == "__main__":
    print(json.dumps(understood()))
