"""What is Forge's and Neo's own in ``inside.py``: how they are booted without a page, and what a run could change."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

NEO = sys.argv[1] == "neo"
CHECKPOINT, OUT = (Path(name).resolve() for name in sys.argv[3:5])
FLAGS = ["--skip-prepare-environment", "--skip-version-check", "--disable-console-progressbars"]
ON_A_CARD = os.environ.get("WEBUI_DEVICE", "cpu") != "cpu"
if not ON_A_CARD:
    FLAGS += ["--cpu" if NEO else "--always-cpu", "--skip-torch-cuda-test"]
FLAGS += ["--ckpt-dirs", str(CHECKPOINT.parent)] if NEO else ["--ckpt", str(CHECKPOINT)]
sys.argv = ["launch.py", *FLAGS, "--data-dir", str(OUT / "webui"), *sys.argv[6:]]
sys.path[:0] = [str(Path.cwd()), str(Path(__file__).resolve().parents[2])]

from modules_forge import initialization  # noqa: E402

initialization.initialize_forge()

from modules import initialize  # noqa: E402

initialize.imports()
initialize.check_versions()
initialize.initialize()

from backend import loader  # noqa: E402
from backend.args import dynamic_args  # noqa: E402
from backend.nn import flux as forge_flux  # noqa: E402
from backend.nn import unet as forge_unet  # noqa: E402
from huggingface_guess import detection  # noqa: E402
from modules import script_callbacks, sd_models, shared  # noqa: E402
from modules_forge import main_entry  # noqa: E402
from torch import nn  # noqa: E402

from lora_scripts_ext.hosts.webui.forge.chroma import ChromaSession  # noqa: E402
from lora_scripts_ext.hosts.webui.forge.flux import FluxSession  # noqa: E402
from lora_scripts_ext.hosts.webui.forge.host import ForgeHost as Host  # noqa: E402, F401
from lora_scripts_ext.hosts.webui.forge.host import inspection  # noqa: E402, F401
from lora_scripts_ext.hosts.webui.forge.session import ForgeSession, load  # noqa: E402

#: new weights are made for the layers that a LoRA changes, and the old ones put back
MOVED_BY_MERGING = ("addresses", "objects")
#: Neo makes new parameters over the same memory whenever it brings a model to its device; a card's memory is another
MOVED_BY_LOADING = MOVED_BY_MERGING if ON_A_CARD else ("objects",) if NEO else ()

# What registers the Lora extension's tag, among others; the launcher does it before it builds the page.
script_callbacks.before_ui_callback()


def reduced(sizes: dict[str, Any]) -> None:
    """Forge takes a Flux's and its T5's sizes for granted: make it use ours."""
    detect, read = detection.detect_unet_config, loader.read_arbitrary_config
    detection.detect_unet_config = lambda *arguments: {**detect(*arguments), **sizes["transformer"]}
    loader.read_arbitrary_config = lambda folder: {**read(folder), **sizes["t5"]}


if NEO:
    shared.opts.data["sd_model_checkpoint"] = CHECKPOINT.name
if CHECKPOINT.with_suffix(".sizes.json").is_file():
    reduced(json.loads(CHECKPOINT.with_suffix(".sizes.json").read_text()))
main_entry.refresh_model_loading_parameters()
sd_models.forge_model_reload()
FLUX, CHROMA = (type(shared.sd_model).__name__ == name for name in ("Flux", "Chroma"))
Session = ChromaSession if CHROMA else FluxSession if FLUX else ForgeSession


def roots() -> list[nn.Module]:
    """The modules that hold the model."""
    parts = shared.sd_model.forge_objects_original
    return [parts.unet.model, parts.clip.cond_stage_model, parts.vae.first_stage_model]


def vae_levels() -> int:
    """How often the VAE halves a side, plus one."""
    return len(shared.sd_model.forge_objects_original.vae.first_stage_model.encoder.down)


def guidance_options() -> dict[str, object]:
    """Guidance settings of txt2img: a distilled Flux takes its scale as an input."""
    if FLUX:
        return {"cfg_scale": 1.0, "distilled_cfg_scale": 7.0, "scheduler": "Simple"}
    return {"cfg_scale": 7.0, **({"scheduler": "Simple"} if CHROMA else {})}


def own_state() -> dict[str, str]:
    """What only Forge has and a run could leave changed."""
    model, parts = shared.sd_model, shared.sd_model.forge_objects
    return {
        "inference": str(sum(tensor.is_inference() for root in roots() for tensor in root.parameters())),
        "merged": merged(),
        "prompt": model.current_lora_hash,
        "patchers": str([id(part) for part in (parts.unet, parts.clip, parts.vae)]),
        "attention": str((forge_unet.attention_function, forge_flux.attention_function)),
        "rotations": str(getattr(forge_flux, "apply_rope", None)),
        "references": str(dynamic_args.ref_latents) if NEO else "",
        "loading": str(sd_models.model_data.forge_loading_parameters),
    }


def merged() -> str:
    """Which LoRAs are in the weights, or taken into account on the fly."""
    if not NEO:
        return str([root.lora_loader.loaded_hash for root in roots()[:2]])
    parts = shared.sd_model.forge_objects
    wanted = [part.patches_uuid for part in (parts.unet, parts.clip.patcher)]
    there = [root.current_weight_patches_uuid for root in roots()[:2]]
    return f"{[one == other for one, other in zip(wanted, there, strict=True)]} {there} {on_the_fly()}"


def on_the_fly() -> int:
    """The layers that take a LoRA into account when they are used, in place of merging it."""
    names = ("weight_function", "forge_online_loras")
    modules = [module for root in roots()[:2] for module in root.modules()]
    return sum(bool(getattr(module, name, None)) for module in modules for name in names)


def merge(session: ForgeSession, lora: Path) -> int:
    """Merge a listed LoRA as a prompt would; returns how many weights are changed for it."""
    nets = sys.modules["networks"]
    with session._theirs():
        nets.load_networks([lora.stem], [1.0], [1.0], *([] if NEO else [[None]]))
        parts = shared.sd_model.forge_objects
        # What the session brings to the device from here on.
        session._parts = parts
        load(parts.unet, parts.clip.patcher)
        patchers = (parts.unet, parts.clip.patcher)
        if NEO:
            return sum(len(patcher.patches) for patcher in patchers)
        return sum(len(patches) for patcher in patchers for patches in patcher.lora_patches.values())
