"""Runs inside a WebUI's own Python, in its folder: boots it as its launcher does, trains, and reports the results.

``python inside.py KIND matrix CHECKPOINT OUT DATA``: ends runs in every way and compares what they leave behind;
``bare`` in place of ``matrix``: with no LoRA in the weights.
``python inside.py KIND train CHECKPOINT OUT RUNS``: does the runs of a JSON file, a list of configs, and merges their
LoRAs. KIND is ``a1111``, ``forge`` or ``neo``; what follows are further flags of the WebUI. The last line of stdout is
one JSON object.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

KIND, MODE = sys.argv[1:3]
CHECKPOINT, OUT, INPUT = (Path(name).resolve() for name in sys.argv[3:6])
MORE = sys.argv[6:]
webui = importlib.import_module("inside_a1111" if KIND == "a1111" else "inside_forge")

import torch  # noqa: E402
from modules import call_queue, processing, shared  # noqa: E402
from PIL import Image  # noqa: E402

from lora_scripts_ext import config as configs  # noqa: E402
from lora_scripts_ext.adapters import file  # noqa: E402
from lora_scripts_ext.adapters.adapter import Adapter  # noqa: E402
from lora_scripts_ext.adapters.targets import select  # noqa: E402
from lora_scripts_ext.config import Config  # noqa: E402
from lora_scripts_ext.training import run  # noqa: E402
from lora_scripts_ext.training.estimate import estimate  # noqa: E402

# SDXL's live preview would download its small decoder.
shared.opts.data["live_previews_enable"] = False
PROMPT = "a teapot"


def draw(prompt: str, steps: int = 4, seed: int = 7) -> str:
    """Hash of the pixels of a txt2img image, as large as the previews of ``settings``."""
    # The WebUIs take eight pixels a latent cell for granted, whatever the VAE.
    side = 64 * 8 // 2 ** (webui.vae_levels() - 1)
    job = processing.StableDiffusionProcessingTxt2Img(
        sd_model=shared.sd_model, prompt=prompt, seed=seed, sampler_name="Euler", steps=steps,
        width=side, height=side, do_not_save_samples=True, do_not_save_grid=True, **webui.guidance_options(),
    )  # fmt: skip
    image = processing.process_images(job).images[0]
    job.close()
    return digest(image.convert("RGB").tobytes())


def digest(data: bytes) -> str:
    """Enough of a SHA-256 to tell two things apart."""
    return hashlib.sha256(data).hexdigest()[:16]


def raw(tensor: torch.Tensor) -> bytes:
    """A tensor's bytes; numpy knows no fp8."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def tensors_digest() -> str:
    """Of all the model's numbers."""
    sum_of_all = hashlib.sha256()
    for root in webui.roots():
        for name, tensor in root.state_dict().items():
            sum_of_all.update(name.encode())
            sum_of_all.update(raw(tensor))
    return sum_of_all.hexdigest()[:16]


def state() -> dict[str, str]:
    """Everything that a run could leave changed, each as one short text."""
    modules = [module for root in webui.roots() for module in root.modules()]
    parameters = [parameter for root in webui.roots() for parameter in root.parameters()]
    return {
        "tensors": tensors_digest(),
        "addresses": digest(str([parameter.data_ptr() for parameter in parameters]).encode()),
        "objects": digest(str([id(parameter) for parameter in parameters]).encode()),
        "requires_grad": digest(str([parameter.requires_grad for parameter in parameters]).encode()),
        "gradients": str(sum(parameter.grad is not None for parameter in parameters)),
        "modes": digest(str([module.training for module in modules]).encode()),
        "forwards": str(sum("forward" in vars(module) for module in modules)),
        "hooks": str(sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)),
        "random": digest(torch.random.get_rng_state().numpy().tobytes()),
        "options": digest(json.dumps(shared.opts.data, sort_keys=True, default=str).encode()),
        "listed": str(sorted(sys.modules["networks"].available_networks)),
        "job": shared.state.job,
        "interrupted": str(shared.state.interrupted),
        "locked": f"{call_queue.queue_lock._lock.locked()} {type(call_queue.queue_lock).__name__}",
        **webui.own_state(),
    }


def changes(before: dict[str, str], *allowed: str) -> list[str]:
    """What is not as it was."""
    after = state()
    return [key for key in before if before[key] != after[key] and key not in allowed]


def settings(name: str, **changes: object) -> Config:
    """A short run."""
    values = {
        "train_data_dir": str(INPUT), "base_model": str(CHECKPOINT), "output_dir": str(OUT / name), "resolution": 64,
        "bucket_step": 32, "lora_rank": 4, "batch_size": 2, "max_steps": 3, "learning_rate": 1e-2, "save_steps": 2,
        "tensorboard": False, "save_precision": "fp32", "target": "full", "preview_epochs": 100,
        "preview_prompts": [PROMPT], "preview_steps": 4, "preview_seed": 7, "preview_cfg_scale": 7,
    }  # fmt: skip
    return configs.from_dict(values | changes)


def failing(message: str, error: type[Exception] = RuntimeError, after: int = 0) -> Callable[..., object]:
    """A function that fails whenever it is called, *after* a number of calls."""
    calls = iter(range(after + 1))

    def fail(*args: object, **options: object) -> object:
        if next(calls, after) < after:
            return fail.before(*args, **options)
        raise error(message)

    return fail


#: where a run is made to fail -> (the object, the name of its function, what it raises, at which call)
FAILURES = {
    "caching images": (webui.Session, "encode_images", RuntimeError, 0),
    "caching captions": (webui.Session, "encode_text", RuntimeError, 0),
    "first preview": (webui.Session, "preview", RuntimeError, 0),
    "while a preview is drawn": (processing, "process_images", RuntimeError, 0),
    "first step": (webui.Session, "predict", RuntimeError, 0),
    "out of memory": (webui.Session, "predict", torch.cuda.OutOfMemoryError, 1),
    "writing a checkpoint": (run.Output, "write_step", OSError, 0),
    "saving the state": (run.states, "save", OSError, 0),
    "last preview": (webui.Session, "preview", RuntimeError, 1),
    "writing the LoRA": (run.Output, "write_final", OSError, 0),
    "publishing the LoRA": (run.publication, "publish", OSError, 0),
}


def end(way: str) -> str:
    """Let a run end in that *way*; returns what became of it."""
    name = way.replace(" ", "_")
    if way == "done":
        return "stopped" if run.train(settings(name), webui.Host()).stopped else "done"
    if way == "stopped":
        config = settings(name, save_precision="fp16")
        return "stopped" if run.train(config, webui.Host(), should_stop=stop_soon()).stopped else "done"
    owner, function, error, after = FAILURES[way]
    before = getattr(owner, function)
    fail = failing(way, error, after)
    fail.before = before
    # A plain function as class attribute is bound as a method is.
    setattr(owner, function, fail)
    try:
        run.train(settings(name), webui.Host())
    except error as raised:
        return f"failed: {raised}"
    finally:
        setattr(owner, function, before)
    return "done"


def stop_soon() -> Callable[[], bool]:
    """Stops once the first step is done."""
    log = OUT / "stopped" / "events.jsonl"
    return lambda: log.exists() and '"start"' in log.read_text()


def matrix() -> dict[str, object]:
    """Train once and compare the preview with txt2img; then end runs in every way and look for traces."""
    report: dict[str, object] = {"base": draw(PROMPT)}
    first = run.train(settings("first"), webui.Host())
    report["lora"] = str(first.lora)
    previews = [digest(Image.open(path).convert("RGB").tobytes()) for path in first.previews]
    report["preview of the base"], report["preview"] = previews
    report["txt2img"] = draw(f"{PROMPT} <lora:first:1>")
    report["ways"] = {}
    report["estimate"] = estimated()
    draw(PROMPT)
    before = state()
    run.train(settings("plain"), webui.Host())
    report["changed on the bare model"] = changes(before, "listed", "prompt", *webui.MOVED_BY_LOADING)
    prompt = PROMPT if MODE == "bare" else f"{PROMPT} <lora:first:1>"
    draw(prompt)
    report["on the fly"] = webui.on_the_fly()
    before = state()
    for way in ("done", "stopped", *FAILURES):
        outcome = {"ended": end(way)}
        # A finished run is listed; that is all it may leave. (What is new there makes Forge read a prompt again.)
        outcome["changed"] = changes(before, *webui.MOVED_BY_MERGING, *(("listed", "prompt") if way == "done" else ()))
        outcome["image with LoRA"] = draw(f"{PROMPT} <lora:first:1>") == report["txt2img"]
        outcome["image"] = draw(PROMPT) == report["base"]
        report["ways"][way] = outcome
        draw(prompt)
        before = state()
    return report


def estimated() -> dict[str, object]:
    """The estimate of a run, against what autograd saves in one; the model is in use meanwhile, with a LoRA."""
    draw(f"{PROMPT} <lora:first:1>")
    before, config = state(), settings("estimated")
    result = estimate(config, webui.inspection(config))
    changed = changes(before)
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with webui.Host().open(config) as session:
        device = session.model.device
        adapter = Adapter(select(session.targets(), config.target, False), config.lora_rank, device=device)
        frozen = [parameter for root in webui.roots() for parameter in root.parameters()]
        weights = {tensor.untyped_storage().data_ptr() for tensor in (*frozen, adapter.weights)}
        conditioning = session.encode_text(["a"] * config.batch_size)
        conditioning = replace(conditioning, time_ids=torch.zeros(config.batch_size, 6))
        width, height = max(result.dataset.buckets(), key=lambda size: size[0] * size[1])
        factor = session.model.vae_factor
        noisy = torch.zeros(config.batch_size, channels(session), height // factor, width // factor)
        with adapter.attached(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            prediction = session.predict(noisy, timesteps(session, [0] * config.batch_size), conditioning)
            saved_bytes = sum(t.untyped_storage().nbytes() for pointer, t in saved.items() if pointer not in weights)
        del prediction
    return {
        "changed": changed,
        "saved_bytes": saved_bytes,
        "activation_bytes": result.activation_bytes,
        "steps": result.steps,
    }


def channels(session: webui.Session) -> int:
    """Of the model's latents."""
    return 16 if session.model.prediction_type == "flow" else 4


def timesteps(session: webui.Session, thousandths: list[int]) -> torch.Tensor:
    """Timesteps as the model takes them."""
    fractions = torch.tensor(thousandths)
    return fractions / 1000 if session.model.prediction_type == "flow" else fractions


def trained() -> dict[str, object]:
    """Do the runs one after the other."""
    runs = [configs.from_dict(values) for values in json.loads(INPUT.read_text(encoding="utf-8"))]
    loras = [run.train(config, webui.Host()).lora for config in runs]
    return {"loras": [{"path": str(lora), **merged(lora, config)} for lora, config in zip(loras, runs, strict=True)]}


def merged(lora: Path, config: Config) -> dict[str, object]:
    """How many layers the WebUI finds for the file, and how far its merged weights are from the adapter in effect."""
    generator = torch.Generator().manual_seed(4)

    def prediction(session: webui.Session) -> torch.Tensor:
        conditioning = replace(session.encode_text([PROMPT, "a lamp"]), time_ids=torch.full((2, 6), 64.0))
        return session.predict(noisy, timesteps(session, [30, 800]), conditioning)

    with webui.Host().open(config) as session, torch.no_grad():
        noisy = torch.randn(2, channels(session), 32, 48, generator=generator)
        targets = select(session.targets(), config.target, config.train_text_encoder)
        adapter = Adapter(targets, config.lora_rank, config.alpha, device=session.model.device)
        adapter.load(file.read(lora))
        bare = prediction(session)
        with adapter.attached():
            expected = prediction(session)
        layers = webui.merge(session, lora)
        merged_prediction = prediction(session)
    return {
        "layers": layers,
        "error": float((merged_prediction - expected).norm() / (expected - bare).norm()),
        "effect": float((expected - bare).norm() / bare.norm()),
        "exact": all(target.module.weight.dtype == torch.float32 for target in targets),
    }


if __name__ == "__main__":
    print(json.dumps({"matrix": matrix, "bare": matrix, "train": trained}[MODE]()))
