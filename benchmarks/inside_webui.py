"""The part of ``in_webui.py`` that runs in the WebUI's own Python: ``inside_webui.py KIND measure MODEL OUT RUN.json``.

It is booted as the tests boot it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import time
from pathlib import Path

import torch

KIND = sys.argv[1]
ORDER = json.loads(Path(sys.argv[5]).read_text(encoding="utf-8"))
VALUES = ORDER["run"]
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "webui"))
webui = importlib.import_module("inside_a1111" if KIND == "a1111" else "inside_forge")

from modules import processing, shared

from benchmarks.memory import Peak, resident
from lora_scripts_ext import config as configs
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.training import run, speed
from lora_scripts_ext.training.estimate import estimate

_MIB = 2**20


def draw() -> str:
    """Generate an image, so that the model is as a user's is at Start; returns a digest of its pixels."""
    side = configs.from_dict(VALUES).resolution[0]
    job = processing.StableDiffusionProcessingTxt2Img(
        sd_model=shared.sd_model, prompt="an image", seed=1, sampler_name="Euler", steps=2, cfg_scale=7.0,
        width=side, height=side, do_not_save_samples=True, do_not_save_grid=True,
    )  # fmt: skip
    image = processing.process_images(job).images[0]
    job.close()
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()


def timed(name: str) -> dict[str, object]:
    """One run: seconds until its first step begins, and between its last steps; memory before, at its peak, after; the
    UNet's state as its first step ends."""
    config = configs.from_dict(VALUES | {"output_name": name})
    before, peak, started, ends, state = resident(), Peak(), [], [], {}
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()

    def hear(event: dict[str, object]) -> None:
        if event["event"] == "start":
            started.append(time.perf_counter() - start)

    def should_stop() -> bool:
        # Called as a step ends; its event comes later.
        if started:
            ends.append(time.perf_counter())
            state.update({} if state else unet_state())
        return False

    run.train(config, webui.Host(), report=hear, should_stop=should_stop)
    return {
        "seconds_to_first_step": round(started[0], 2),
        "seconds_a_step": round((ends[-1] - ends[0]) / (len(ends) - 1), 2),
        "before_mib": round(before / _MIB),
        "peak_mib": round(peak.end() / _MIB),
        "after_mib": round(resident() / _MIB),
        "device_peak_mib": round(torch.cuda.max_memory_allocated() / _MIB) if torch.cuda.is_available() else None,
        **state,
    }


def unet_state() -> dict[str, object]:
    """In Forge and Neo: the share of the UNet's weights that wait in the computer's memory, and what computes its
    attention."""
    if KIND == "a1111":
        return {}
    from backend.nn import unet as blocks

    unet = shared.sd_model.forge_objects_original.unet
    sizes = {parameter: parameter.numel() * parameter.element_size() for parameter in unet.model.parameters()}
    waiting = sum(size for parameter, size in sizes.items() if parameter.device.type != unet.load_device.type)
    return {"waiting": round(waiting / sum(sizes.values()), 2), "attention": blocks.attention_function.__name__}


def keep_on_device(mib: int) -> None:
    """Forge's slider "GPU Weights", or Neo's reserve: as much of the device is for weights; what does not fit is
    swapped in and out."""
    from backend import memory_management

    memory_management.unload_all_models()
    if KIND == "forge":
        memory_management.current_inference_memory = memory_management.total_vram * _MIB - mib * _MIB
        return
    needed = memory_management.minimum_inference_memory() - memory_management.extra_reserved_memory()
    memory_management.EXTRA_RESERVED_VRAM = memory_management.get_free_memory() - needed - mib * _MIB


def measured() -> dict[str, object]:
    """Estimate and two runs, or why the model cannot be trained on."""
    config = configs.from_dict(VALUES)
    try:
        estimated = estimate(config, webui.inspection(config))
    except UserError as error:
        return {"refused": str(error)}
    rate = speed.flops_per_second(estimated.model.device, estimated.model.dtype)
    weights = [parameter for root in webui.roots() for parameter in root.parameters()]
    return {
        "model_mib": round(sum(weight.numel() * weight.element_size() for weight in weights) / _MIB),
        "estimate": {
            "extra_mib": round(estimated.extra_bytes / _MIB),
            "seconds_a_step": round(estimated.flops / rate / estimated.steps, 2),
        },
        "first_run": timed("first"),
        "second_run": timed("second"),
    }


if __name__ == "__main__":
    if ORDER["gpu_weights"]:
        keep_on_device(ORDER["gpu_weights"])
    pixels_before, outside = draw(), unet_state()
    report = {"outside": outside, **measured()}
    report["picture_as_before"] = draw() == pixels_before
    print(json.dumps(report))
