"""Runs inside Forge's or Neo's own Python, as ``inside.py`` does, on a reduced Flux.

``compare``: the session's predictions, beside Forge's, and a LoRA's effect in a file for others to repeat.
``references``: what an img2img of Kontext leaves behind, in Neo.
``low_bits``: trains on a transformer whose weights are kept in fewer bits. ``refused``: as in ``limits_forge.py``.
The last line of stdout is one JSON object.
"""

from __future__ import annotations

import json

import torch
from inside import MODE, OUT, PROMPT, changes, draw, settings, state, webui
from modules import shared
from modules.prompt_parser import SdConditioning
from safetensors.torch import save_file
from torch import Tensor

from lora_scripts_ext.adapters import file
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.training import run


def compare() -> dict[str, object]:
    """Distances of the session's conditioning and flow from Forge's; predictions with a LoRA go to a file."""
    config = settings("compared", preview_epochs=0, learning_rate=1e-3)
    result = run.train(config, webui.Host())
    theirs = shared.sd_model.get_learned_conditioning(SdConditioning([PROMPT]))
    generator = torch.Generator().manual_seed(3)
    pixels = torch.rand(1, 3, 64, 96, generator=generator) * 2 - 1
    noisy = torch.randn(1, 16, 16, 24, generator=generator)
    timestep = torch.tensor([0.7])
    with webui.Host().open(config) as session, torch.no_grad():
        text = session.encode_text([PROMPT])
        with torch.inference_mode():
            denoised = shared.sd_model.forge_objects_original.unet.model.apply_model(
                noisy, timestep, c_crossattn=text.context, y=text.pooled, guidance=torch.ones(1), transformer_options={}
            )
        bare = session.predict(noisy, timestep, text)
        adapter = Adapter(select(session.targets(), config.target, False), config.lora_rank, config.alpha)
        adapter.load(file.read(result.lora))
        with adapter.attached():
            changed = session.predict(noisy, timestep, text)
        tensors = {
            "noisy": noisy, "timestep": timestep, "context": text.context.float(), "pooled": text.pooled.float(),
            "bare": bare, "changed": changed, "pixels": pixels, "latents": session.encode_images(pixels).mean,
        }  # fmt: skip
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, OUT / "tensors.safetensors")
    return {
        "lora": str(result.lora),
        "tensors": str(OUT / "tensors.safetensors"),
        "context": error(text.context, theirs["crossattn"]),
        "pooled": error(text.pooled, theirs["vector"]),
        "flow": error(bare, (noisy - denoised) / timestep),
    }


def references() -> dict[str, object]:
    """How far the flow is from that without a reference image, in a session and outside of one."""
    from backend.args import dynamic_args

    draw(PROMPT)
    config = settings("referring")
    noisy = torch.randn(1, 16, 16, 24, generator=torch.Generator().manual_seed(3))
    timestep, flows = torch.tensor([0.7]), []
    for left_behind in ([], [torch.ones(1, 16, 8, 8)]):
        dynamic_args.ref_latents = left_behind
        with webui.Host().open(config) as session, torch.no_grad():
            conditioning = session.encode_text([PROMPT])
            flows.append(session.predict(noisy, timestep, conditioning))
            estimated = session.outline().predict(1, 64, 64).shape
        assert dynamic_args.ref_latents is left_behind
    with torch.inference_mode():
        outside = shared.sd_model.forge_objects_original.unet.model.diffusion_model(
            noisy, timestep, context=conditioning.context, y=conditioning.pooled, guidance=torch.ones(1),
            transformer_options={},
        )  # fmt: skip
    return {"inside": error(*flows), "outside": error(outside, flows[0]), "estimated": list(estimated)}


def error(actual: Tensor, expected: Tensor) -> float:
    """Relative, in the L2 norm."""
    return float((actual.float() - expected.float()).norm() / expected.float().norm())


def low_bits() -> dict[str, object]:
    """How the weights are kept, what a run leaves changed, and whether its LoRA acts."""
    report: dict[str, object] = {"base": draw(PROMPT)}
    unet = shared.sd_model.forge_objects_original.unet.model
    report["stored"], report["computed"] = str(unet.storage_dtype), str(unet.computation_dtype)
    before = state()
    result = run.train(settings("low", gradient_checkpointing=True, preview_epochs=0), webui.Host())
    report["changed"] = changes(before, "listed", "prompt")
    report["loss"] = result.loss
    report["txt2img"] = draw(f"{PROMPT} <lora:low:1>")
    report["base after"] = draw(PROMPT)
    return report


def refused() -> dict[str, object]:
    """The error, and what is different afterwards."""
    before = state()
    text_encoder = MODE == "refused_text_encoder"
    try:
        run.train(settings("refused", train_text_encoder=text_encoder), webui.Host())
    except UserError as raised:
        return {"error": str(raised), "changed": changes(before)}
    return {"error": "", "changed": changes(before)}


if __name__ == "__main__":
    drivers = {driver.__name__: driver for driver in (compare, references, low_bits)}
    print(json.dumps(drivers.get(MODE, refused)()))
