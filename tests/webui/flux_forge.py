"""Runs inside Forge's or Neo's own Python, as ``inside.py`` does, on a reduced Flux.

``compare``: what the session says, beside what Forge says, and a LoRA's effect in a file for others to repeat.
``references``: what an img2img of Kontext has left behind, in Neo.
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
    """How far the session's words and flow are from Forge's; the numbers of a LoRA in effect go to a file."""
    config = settings("compared", preview_epochs=0, learning_rate=1e-3)
    result = run.train(config, webui.Host())
    theirs = shared.sd_model.get_learned_conditioning(SdConditioning([PROMPT]))
    generator = torch.Generator().manual_seed(3)
    pixels = torch.rand(1, 3, 64, 96, generator=generator) * 2 - 1
    noisy = torch.randn(1, 16, 16, 24, generator=generator)
    moment = torch.tensor([0.7])
    with webui.Host().open(config) as session, torch.no_grad():
        words = session.encode_text([PROMPT])
        with torch.inference_mode():
            denoised = shared.sd_model.forge_objects_original.unet.model.apply_model(
                noisy, moment, c_crossattn=words.context, y=words.pooled, guidance=torch.ones(1), transformer_options={}
            )
        bare = session.predict(noisy, moment, words)
        adapter = Adapter(select(session.targets(), config.target, False), config.lora_rank, config.alpha)
        adapter.load(file.read(result.lora))
        with adapter.attached():
            changed = session.predict(noisy, moment, words)
        seen = {
            "noisy": noisy, "moment": moment, "context": words.context.float(), "pooled": words.pooled.float(),
            "bare": bare, "changed": changed, "pixels": pixels, "latents": session.encode_images(pixels).mean,
        }  # fmt: skip
    save_file({name: tensor.contiguous() for name, tensor in seen.items()}, OUT / "seen.safetensors")
    return {
        "lora": str(result.lora),
        "seen": str(OUT / "seen.safetensors"),
        "context": error(words.context, theirs["crossattn"]),
        "pooled": error(words.pooled, theirs["vector"]),
        "flow": error(bare, (noisy - denoised) / moment),
    }


def references() -> dict[str, object]:
    """How far the flow is from that without a reference image, in a session and outside of one."""
    from backend.args import dynamic_args

    draw(PROMPT)
    config = settings("referring")
    noisy = torch.randn(1, 16, 16, 24, generator=torch.Generator().manual_seed(3))
    moment, flows = torch.tensor([0.7]), []
    left = torch.ones(1, 16, 8, 8)
    for behind in ([], [left]):
        dynamic_args.ref_latents = behind
        with webui.Host().open(config) as session, torch.no_grad():
            flows.append(session.predict(noisy, moment, session.encode_text([PROMPT])))
            words = session.encode_text([PROMPT])
            estimated = session.outline().predict(1, 64, 64).shape
        assert dynamic_args.ref_latents is behind
    with torch.inference_mode():
        unet, cond = shared.sd_model.forge_objects_original.unet.model, words
        outside = unet.diffusion_model(
            noisy, moment, context=cond.context, y=cond.pooled, guidance=torch.ones(1), transformer_options={}
        )
    return {"inside": error(*flows), "outside": error(outside, flows[0]), "estimated": list(estimated)}


def error(found: Tensor, wanted: Tensor) -> float:
    """Relative, in the L2 norm."""
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


def low_bits() -> dict[str, object]:
    """How the weights are kept, what a run leaves changed, and whether its LoRA acts."""
    seen: dict[str, object] = {"base": draw(PROMPT)}
    unet = shared.sd_model.forge_objects_original.unet.model
    seen["stored"], seen["computed"] = str(unet.storage_dtype), str(unet.computation_dtype)
    before = state()
    result = run.train(settings("low", gradient_checkpointing=True, preview_epochs=0), webui.Host())
    seen["changed"] = changes(before, "listed", "prompt")
    seen["loss"] = result.loss
    seen["txt2img"] = draw(f"{PROMPT} <lora:low:1>")
    seen["base after"] = draw(PROMPT)
    return seen


def refused() -> dict[str, object]:
    """What is said, and what is different afterwards."""
    before = state()
    words = MODE == "refused_words"
    try:
        run.train(settings("refused", train_text_encoder=words), webui.Host())
    except UserError as raised:
        return {"said": str(raised), "changed": changes(before)}
    return {"said": "", "changed": changes(before)}


if __name__ == "__main__":
    drivers = {driver.__name__: driver for driver in (compare, references, low_bits)}
    print(json.dumps(drivers.get(MODE, refused)()))
