"""Runs inside A1111's own Python, as ``inside.py`` does, with all on the model that a user can put there.

``burdened``: trains on the bare model, then with a LoRA, a hypernetwork, hypertile and tiling active; token
merging the WebUI removes by itself after each image.
``refused``: tries to train on a model that cannot be trained on.
The last line of stdout is one JSON object.
"""

from __future__ import annotations

import json
import sys

import torch
from inside import INPUT, MODE, MORE, PROMPT, digest, draw, settings, state
from modules import processing, sd_hijack, shared
from modules.hypernetworks.hypernetwork import Hypernetwork

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.webui.a1111.host import A1111Host
from lora_scripts_ext.training import run


def draw_burdened() -> str:
    """Hash of an image with everything on; hypertile is a script of the page, called here as that calls it."""
    sys.modules["hypertile"].set_hypertile_seed(7)
    tile(shared.sd_model.model, 128)
    tile(shared.sd_model.first_stage_model, 64)
    job = processing.StableDiffusionProcessingTxt2Img(
        sd_model=shared.sd_model, prompt=f"{PROMPT} <lora:plain:1> <hypernet:hyper:1>", seed=7, sampler_name="Euler",
        steps=4, width=256, height=256, tiling=True, do_not_save_samples=True, do_not_save_grid=True,
    )  # fmt: skip
    image = processing.process_images(job).images[0]
    job.close()
    return digest(image.tobytes())


def tile(model: torch.nn.Module, largest: int, enable: bool = True) -> None:
    """Put hypertile on a part of the model."""
    hook = sys.modules["hypertile"].hypertile_hook_model
    hook(model, 256, 256, swap_size=2, max_depth=3, tile_size_max=largest, enable=enable, is_sdxl=False)


def active() -> dict[str, object]:
    """What is on the model."""
    model = shared.sd_model
    tiles = [getattr(module, "__webui_hypertile_params", None) for module in model.modules()]
    return {
        "loras": [net.name for net in sys.modules["networks"].loaded_networks],
        "hypernetworks": [net.name for net in shared.loaded_hypernetworks],
        "tiled": any(params is not None and params.enabled for params in tiles),
        "wraps": sd_hijack.model_hijack.circular_enabled,
    }


def everything() -> dict[str, object]:
    """All that a run could leave changed."""
    return {**state(), **active()}


def hypernetwork() -> Hypernetwork:
    """One with an effect, for every width of the tiny models."""
    return Hypernetwork("hyper", [32, 64, 128], [1, 2, 1], "linear", "KaimingUniform")


def burdened() -> dict[str, object]:
    """Train bare, then burdened, from the same settings."""
    report: dict[str, object] = {"bare image": draw(PROMPT)}
    plain = run.train(settings("plain", preview_epochs=0), A1111Host())
    # Where it stands, the prompt finds it by its name.
    shared.loaded_hypernetworks.append(hypernetwork())
    report["image"] = draw_burdened()
    report["active"] = active()
    before = everything()
    again = run.train(settings("again"), A1111Host())
    after = everything()
    report["changed"] = [key for key in before if before[key] != after[key] and key != "listed"]
    report["loras"] = [str(plain.lora), str(again.lora)]
    report["image after"] = draw_burdened()
    tile(shared.sd_model.model, 128, enable=False)
    tile(shared.sd_model.first_stage_model, 64, enable=False)
    report["bare image after"] = draw(PROMPT)
    return report


def refused() -> dict[str, object]:
    """The error, and what is different afterwards."""
    config = settings("refused", train_text_encoder="--medvram" in MORE)
    assert shared.sd_model is not None
    before = state()
    try:
        run.train(config, A1111Host())
    except UserError as error:
        message = str(error)
    after = state()
    return {"error": message, "changed": [key for key in before if before[key] != after[key]]}


if __name__ == "__main__":
    assert INPUT.is_dir()
    print(json.dumps({"burdened": burdened, "refused": refused}[MODE]()))
