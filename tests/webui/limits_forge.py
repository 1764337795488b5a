"""Runs inside Forge's own Python, as ``inside.py`` does: weights kept in low bits, and what cannot be trained on.

``low_bits``: trains, with gradient checkpointing, on a UNet that Forge keeps in fp8.
``lazy``: estimates a run before Forge has loaded the model that is chosen.
``refused``: tries to train on a model that cannot be trained on.
The last line of stdout is one JSON object.
"""

from __future__ import annotations

import json

from inside import MODE, PROMPT, changes, digest, draw, settings, state, webui
from modules import call_queue, sd_models, shared
from PIL import Image

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.training import run
from lora_scripts_ext.training.estimate import estimate


def low_bits() -> dict[str, object]:
    """How the weights are kept, what a run leaves changed, and whether its LoRA acts."""
    report: dict[str, object] = {"base": draw(PROMPT)}
    report["stored"] = str(shared.sd_model.forge_objects_original.unet.model.storage_dtype)
    before = state()
    result = run.train(settings("low", gradient_checkpointing=True), webui.Host())
    report["changed"] = changes(before, "listed", "prompt")
    report["loss"] = result.loss
    report["preview"] = digest(Image.open(result.previews[-1]).convert("RGB").tobytes())
    report["txt2img"] = draw(f"{PROMPT} <lora:low:1>")
    report["base after"] = draw(PROMPT)
    return report


def lazy() -> dict[str, object]:
    """The estimated steps, and whether the model is loaded and unlocked afterwards."""
    held = sd_models.model_data
    held.sd_model, held.forge_hash = sd_models.FakeInitialModel(), ""
    config = settings("lazy")
    estimated = estimate(config, webui.inspection(config))
    loaded = hasattr(held.sd_model, "forge_objects")
    return {"steps": estimated.steps, "loaded": loaded, "locked": call_queue.queue_lock._lock.locked()}


def refused_quantised() -> dict[str, object]:
    """As ``refused``, with weights marked as 4-bit: what quantises them runs on graphics cards only."""
    shared.sd_model.forge_objects_original.unet.model.storage_dtype = "nf4"
    return refused()


def refused() -> dict[str, object]:
    """The error, and what is different afterwards."""
    before = state()
    try:
        run.train(settings("refused"), webui.Host())
    except UserError as error:
        message = str(error)
    return {"error": message, "changed": changes(before)}


if __name__ == "__main__":
    print(
        json.dumps(
            {"lazy": lazy, "low_bits": low_bits, "refused": refused, "refused_quantised": refused_quantised}[MODE]()
        )
    )
