"""Runs inside Forge's or Neo's own Python, as ``inside.py`` does: weights in low bits, what cannot be trained on.

``low_bits``: trains, with gradient checkpointing, on a UNet that is kept in fp8.
``lazy``: estimates a run before the model that is chosen is loaded.
``facts``: what the model predicts.
``refused``: tries to train on a model that cannot be trained on; ``quantised``, ``fast_fp8``, ``compiled``, and the
name of a class of the WebUI's engines (``chroma.Chroma``): on the model as if it were one.
``compiling``: trains where the WebUI compiles the UNet to draw.
The last line of stdout is one JSON object.
"""

from __future__ import annotations

import importlib
import json

import torch
from inside import MODE, PROMPT, changes, digest, draw, settings, state, webui
from modules import call_queue, scripts, sd_models, shared
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
    report["changed"] = changes(before, "listed", "prompt", *webui.MOVED_BY_LOADING)
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


def facts() -> dict[str, object]:
    """What the model predicts, and its noise schedule's end."""
    with webui.Host().open(settings("facts")) as session:
        model = session.model
    return {
        "prediction type": model.prediction_type,
        "zero terminal SNR": model.zero_terminal_snr,
        "last": float(model.alphas_cumprod[-1]),
    }


def quantised() -> dict[str, object]:
    """As ``refused``, with weights marked as 4-bit: what quantises them runs on graphics cards only."""
    shared.sd_model.forge_objects_original.unet.model.storage_dtype = "nf4"
    return refused()


def fast_fp8() -> dict[str, object]:
    """As ``refused``, on a UNet made as on a card that computes in fp8."""
    from backend import memory_management

    memory_management.supports_fp8_compute = lambda device=None: True
    sd_models.model_data.forge_hash = ""
    sd_models.forge_model_reload()
    return refused()


def compiled() -> dict[str, object]:
    """As ``refused``, on a UNet that an extension has compiled for good."""
    unet = shared.sd_model.forge_objects_original.unet.model
    unet.diffusion_model = torch.compile(unet.diffusion_model, backend="eager")
    return refused()


def compiling() -> dict[str, object]:
    """As ``low_bits``, where the WebUI's own extension compiles the UNet for each call of its own."""
    script = next(one.script_class for one in scripts.scripts_data if "Compile" in one.script_class.__name__)
    unet = shared.sd_model.forge_objects_original.unet.model
    script._wrap_apply_model(unet, {"backend": "eager", "dynamic": False})
    wrapped = unet.apply_model
    report = low_bits()
    drawn = torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    return {**report, "compiled": [drawn, unet.apply_model is wrapped]}


def of_another_kind() -> dict[str, object]:
    """As ``refused``, on a model that says it is of another class."""
    module, name = MODE.split(".")
    shared.sd_model.__class__ = getattr(importlib.import_module(f"backend.diffusion_engine.{module}"), name)
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
    modes = (lazy, facts, low_bits, refused, quantised, fast_fp8, compiled, compiling)
    print(json.dumps({mode.__name__: mode for mode in modes}.get(MODE, of_another_kind)()))
