"""The part of ``catalogue_throughput.py`` that runs in the WebUI's own Python.

``inside_catalogue.py KIND measure MODEL OUT ORDER.json``; it is booted as the tests boot it.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

KIND = sys.argv[1]
MODEL, OUT = (Path(name).resolve() for name in sys.argv[3:5])
ORDER = json.loads(Path(sys.argv[5]).read_text(encoding="utf-8"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "webui"))
webui = importlib.import_module("inside_a1111" if KIND == "a1111" else "inside_forge")

from modules import processing, shared

from benchmarks.catalogue_throughput import compared
from lora_scripts_ext.contract import DrawRequest, WeightedLora
from lora_scripts_ext.hosts.webui import shared_state

shared.opts.data["live_previews_enable"] = False


def write_lora() -> Path:
    """A LoRA for the self-attention of one block, where prompts can name it."""
    width = 64 if KIND == "a1111" else 320
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_"
    generator, tensors = torch.Generator().manual_seed(0), {}
    for name in ("q", "k", "v"):
        tensors[f"{layer}{name}.lora_down.weight"] = torch.randn(8, width, generator=generator) * 0.05
        tensors[f"{layer}{name}.lora_up.weight"] = torch.randn(width, 8, generator=generator) * 0.05
    path = Path(shared.cmd_opts.lora_dir) / "brand.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    shared_state.publish()
    return path


def main() -> None:
    """Draw in turns, and print the rates."""
    lora, side, seeds = write_lora(), ORDER["size"], tuple(range(1, ORDER["seeds"] + 1))
    request = DrawRequest(
        "a chair", "", seeds, side, side, ORDER["steps"], 7.0, "Euler", loras=(WeightedLora(lora, 0.7),)
    )

    def own() -> None:
        job = processing.StableDiffusionProcessingTxt2Img(
            sd_model=shared.sd_model, prompt=["a chair <lora:brand:0.7>"] * len(seeds), seed=list(seeds), subseed=0,
            batch_size=len(seeds), sampler_name="Euler", steps=ORDER["steps"], cfg_scale=7.0, width=side, height=side,
            do_not_save_samples=True, do_not_save_grid=True,
        )  # fmt: skip
        processing.process_images(job)
        job.close()

    with webui.Host().drawing(str(MODEL)) as drawer:
        print(json.dumps(compared(own, lambda: drawer.draw(request), len(seeds), ORDER["rounds"])))


main()
