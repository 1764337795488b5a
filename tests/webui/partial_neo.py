"""Runs inside Neo's own Python, as ``inside.py`` does: layers of the UNet wait in the CPU's memory.

Neo is made to see less free memory than there is and, on a CPU, no CPU: there nothing would wait.
The last line of stdout is one JSON object.
"""

from __future__ import annotations

import json

import torch
from inside import PROMPT, draw, settings, webui
from modules import shared
from safetensors.torch import load_file

from lora_scripts_ext.training import run

SHARE = 0.5


def half_of_it_waits() -> None:
    """From the next load on, half of the UNet fits."""
    from backend import memory_management

    unet = shared.sd_model.forge_objects_original.unet
    budget = SHARE * unet.model_size()

    def free(device: torch.device | None = None, torch_free_too: bool = False) -> float | tuple[float, float]:
        memory = budget + memory_management.minimum_inference_memory() - unet.loaded_size()
        return (memory, 0.0) if torch_free_too else memory

    memory_management.unload_all_models()
    memory_management.get_free_memory = free
    memory_management.vram_state = memory_management.VRAMState.NORMAL_VRAM
    if not webui.ON_A_CARD:
        memory_management.is_device_cpu = lambda device: False


def waiting() -> int:
    """The layers that copy their weights for each use."""
    unet = shared.sd_model.forge_objects_original.unet.model
    return sum(hasattr(module, "prev_parameters_manual_cast") for module in unet.modules())


def trained(name: str, **changes: object) -> tuple[dict[str, torch.Tensor], int]:
    """A run's LoRA, and the number of layers that wait after its last step."""
    steps = []

    def hear(event: dict[str, object]) -> None:
        if event["event"] == "step":
            steps.append(waiting())

    lora = run.train(settings(name, preview_epochs=0, **changes), webui.Host(), report=hear).lora
    return load_file(lora), steps[-1]


def partial() -> dict[str, object]:
    """How many layers wait, outside of a run and in two, how far the LoRAs are from that of a model that is loaded
    whole, and whether images are as before."""
    reference, none = trained("whole")
    half_of_it_waits()
    image, outside = draw(PROMPT), waiting()
    recomputed, with_checkpointing = trained("recomputed", gradient_checkpointing=True)
    kept, without = trained("kept")
    return {
        "waiting": {"whole": none, "outside": outside, "recomputed": with_checkpointing, "kept": without},
        "errors": [error(lora, reference) for lora in (recomputed, kept)],
        "image as before": draw(PROMPT) == image,
    }


def error(lora: dict[str, torch.Tensor], reference: dict[str, torch.Tensor]) -> float:
    """Relative, in the L2 norm."""
    theirs, ours = (torch.cat([one[key].flatten() for key in sorted(reference)]) for one in (reference, lora))
    return float((ours - theirs).norm() / theirs.norm())


if __name__ == "__main__":
    print(json.dumps(partial()))
