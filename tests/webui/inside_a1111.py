"""Runs inside A1111's own Python, in its folder: boots it as its launcher does, trains, and says what it saw.

``python inside_a1111.py matrix CHECKPOINT OUT DATA``: ends runs in every way and compares what they leave behind.
``python inside_a1111.py train CHECKPOINT OUT RUNS``: does the runs of a JSON file, a list of configs, and merges
their LoRAs.
What follows are further flags of the WebUI. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

MODE = sys.argv[1]
CHECKPOINT, OUT, INPUT = (Path(name).resolve() for name in sys.argv[2:5])
MORE = sys.argv[5:]
FLAGS = [
    "--use-cpu", "all", "--no-half", "--skip-torch-cuda-test", "--skip-prepare-environment", "--skip-version-check",
    "--no-download-sd-model", "--skip-load-model-at-start", "--disable-console-progressbars",
]  # fmt: skip
sys.argv = ["launch.py", *FLAGS, "--data-dir", str(OUT / "webui"), "--ckpt", str(CHECKPOINT), *MORE]
sys.path[:0] = [str(Path.cwd()), str(Path(__file__).resolve().parents[2])]

from modules import initialize  # noqa: E402

initialize.imports()
initialize.initialize()

import open_clip  # noqa: E402
import torch  # noqa: E402
from modules import call_queue, processing, script_callbacks, sd_hijack, shared  # noqa: E402
from PIL import Image  # noqa: E402

from lora_scripts_ext import config as configs  # noqa: E402
from lora_scripts_ext.adapters import file  # noqa: E402
from lora_scripts_ext.adapters.adapter import Adapter  # noqa: E402
from lora_scripts_ext.adapters.targets import select  # noqa: E402
from lora_scripts_ext.config import Config  # noqa: E402
from lora_scripts_ext.hosts.a1111 import A1111Host, inspection  # noqa: E402
from lora_scripts_ext.hosts.a1111_session import A1111Session  # noqa: E402
from lora_scripts_ext.training import run  # noqa: E402
from lora_scripts_ext.training.estimate import estimate  # noqa: E402

# What registers the Lora extension's tag, among others; the launcher does it before it builds the page.
script_callbacks.before_ui_callback()
if (CHECKPOINT.parent / "open_clip").is_dir():
    open_clip.add_model_config(CHECKPOINT.parent / "open_clip")

# SDXL's live preview would download its small decoder.
shared.opts.data["live_previews_enable"] = False
PROMPT = "a teapot"


def draw(prompt: str, steps: int = 4, seed: int = 7) -> str:
    """Hash of the pixels of a txt2img picture, as large as the previews of ``settings``."""
    # The WebUI takes eight pixels a latent cell for granted, whatever the VAE.
    side = 64 * 8 // 2 ** (shared.sd_model.first_stage_model.encoder.num_resolutions - 1)
    job = processing.StableDiffusionProcessingTxt2Img(
        sd_model=shared.sd_model, prompt=prompt, seed=seed, sampler_name="Euler", steps=steps, cfg_scale=7.0,
        width=side, height=side, do_not_save_samples=True, do_not_save_grid=True,
    )  # fmt: skip
    picture = processing.process_images(job).images[0]
    job.close()
    return pixels(picture)


def pixels(picture: Image.Image) -> str:
    """Hash of a picture."""
    return digest(picture.convert("RGB").tobytes())


def digest(data: bytes) -> str:
    """Enough of a SHA-256 to tell two things apart."""
    return hashlib.sha256(data).hexdigest()[:16]


def raw(tensor: torch.Tensor) -> bytes:
    """A tensor's bytes; numpy knows no fp8."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def state() -> dict[str, str]:
    """Everything that a run could leave changed, each as one short text."""
    model = shared.sd_model
    held = model.state_dict()
    modules = list(model.modules())
    return {
        "tensors": digest(b"".join(name.encode() + raw(tensor) for name, tensor in held.items())),
        "places": digest(str([tensor.data_ptr() for tensor in held.values()]).encode()),
        "requires_grad": digest(str([parameter.requires_grad for parameter in model.parameters()]).encode()),
        "gradients": str(sum(parameter.grad is not None for parameter in model.parameters())),
        "modes": digest(str([module.training for module in modules]).encode()),
        "forwards": str(sum("forward" in vars(module) for module in modules)),
        "hooks": str(sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)),
        "backups": str(sum(getattr(module, "network_weights_backup", None) is not None for module in modules)),
        "random": digest(torch.random.get_rng_state().numpy().tobytes()),
        "options": digest(json.dumps(shared.opts.data, sort_keys=True, default=str).encode()),
        "attention": str(sd_hijack.current_optimizer and sd_hijack.current_optimizer.title()),
        "listed": str(sorted(sys.modules["networks"].available_networks)),
        "job": shared.state.job,
        "interrupted": str(shared.state.interrupted),
        "locked": str(call_queue.queue_lock._lock.locked()),
    }


def settings(name: str, **changes: object) -> Config:
    """A short run."""
    values = {
        "train_data_dir": str(INPUT), "base_model": str(CHECKPOINT), "output_dir": str(OUT / name), "resolution": 64,
        "bucket_step": 32, "lora_rank": 4, "batch_size": 2, "max_steps": 3, "learning_rate": 1e-2, "save_steps": 2,
        "tensorboard": False, "save_precision": "fp32", "target": "full", "preview_epochs": 100,
        "preview_prompts": [PROMPT], "preview_steps": 4, "preview_seed": 7,
    }  # fmt: skip
    return configs.from_dict(values | changes)


def failing(message: str, error: type[Exception] = RuntimeError, after: int = 0) -> Callable[..., object]:
    """A function that fails when it is called, *after* a number of calls."""
    calls = iter(range(after + 1))

    def fail(*args: object, **options: object) -> object:
        if next(calls) < after:
            return fail.before(*args, **options)
        raise error(message)

    return fail


#: where a run is made to fail -> (the object, the name of its function, what it raises, at which call)
FAILURES = {
    "caching pictures": (A1111Session, "encode_images", RuntimeError, 0),
    "caching captions": (A1111Session, "encode_text", RuntimeError, 0),
    "first preview": (A1111Session, "preview", RuntimeError, 0),
    "first step": (A1111Session, "predict", RuntimeError, 0),
    "out of memory": (A1111Session, "predict", torch.cuda.OutOfMemoryError, 1),
    "writing a checkpoint": (run.Output, "write_step", OSError, 0),
    "saving the state": (run.states, "save", OSError, 0),
    "last preview": (A1111Session, "preview", RuntimeError, 1),
    "writing the LoRA": (run.Output, "write_final", OSError, 0),
}


def end(way: str) -> str:
    """Let a run end in that *way*; returns what became of it."""
    name = way.replace(" ", "_")
    if way == "done":
        return "stopped" if run.train(settings(name), A1111Host()).stopped else "done"
    if way == "stopped":
        return "stopped" if run.train(settings(name), A1111Host(), should_stop=stop_soon()).stopped else "done"
    owner, function, error, after = FAILURES[way]
    before = getattr(owner, function)
    fail = failing(way, error, after)
    fail.before = before
    # A plain function as class attribute is bound as a method is.
    setattr(owner, function, fail)
    try:
        run.train(settings(name), A1111Host())
    except error as raised:
        return f"failed: {raised}"
    finally:
        setattr(owner, function, before)
    return "done"


def stop_soon() -> Callable[[], bool]:
    """Asks to stop once the first step is done."""
    log = OUT / "stopped" / "events.jsonl"
    return lambda: log.exists() and '"start"' in log.read_text()


def matrix() -> dict[str, object]:
    """Train once and compare the preview with txt2img; then end runs in every way and look for traces."""
    seen: dict[str, object] = {"base": draw(PROMPT)}
    first = run.train(settings("first"), A1111Host())
    seen["lora"] = str(first.lora)
    seen["preview of the base"], seen["preview"] = (pixels(Image.open(path)) for path in first.previews)
    seen["txt2img"] = draw(f"{PROMPT} <lora:first:1>")
    seen["ways"] = {}
    seen["foretold"] = foretell()
    before = state()
    for way in ("done", "stopped", *FAILURES):
        told = {"ended": end(way)}
        after = state()
        # A finished run is listed; that is all it may leave.
        told["changed"] = [key for key in before if before[key] != after[key] and (way, key) != ("done", "listed")]
        told["picture with LoRA"] = draw(f"{PROMPT} <lora:first:1>") == seen["txt2img"]
        told["picture"] = draw(PROMPT) == seen["base"]
        seen["ways"][way] = told
        draw(f"{PROMPT} <lora:first:1>")
        before = state()
    return seen


def foretell() -> dict[str, object]:
    """What is said before a run, against what autograd keeps in one; the model is in use meanwhile, LoRA and all."""
    draw(f"{PROMPT} <lora:first:1>")
    before, config = state(), settings("foretold")
    told = estimate(config, inspection(config))
    changed = [key for key, value in state().items() if value != before[key]]
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with A1111Host().open(config) as session:
        adapter = Adapter(select(session.targets(), config.target, False), config.lora_rank)
        weights = {tensor.untyped_storage().data_ptr() for tensor in (*shared.sd_model.parameters(), adapter.weights)}
        words = session.encode_text(["a"] * config.batch_size)
        words = replace(words, time_ids=torch.zeros(config.batch_size, 6))
        width, height = max(told.dataset.buckets(), key=lambda size: size[0] * size[1])
        factor = session.model.vae_factor
        noisy = torch.zeros(config.batch_size, 4, height // factor, width // factor)
        with adapter.attached(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            answer = session.predict(noisy, torch.zeros(config.batch_size, dtype=torch.int64), words)
            real = sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in weights)
        del answer
    return {"changed": changed, "kept": real, "told": told.activation_bytes, "steps": told.steps}


def trained() -> dict[str, object]:
    """Do the runs one after the other."""
    runs = [configs.from_dict(values) for values in json.loads(INPUT.read_text(encoding="utf-8"))]
    loras = [run.train(config, A1111Host()).lora for config in runs]
    return {"loras": [{"path": str(lora), **merged(lora, config)} for lora, config in zip(loras, runs, strict=True)]}


def merged(lora: Path, config: Config) -> dict[str, object]:
    """How many layers the WebUI finds for the file, and how far its merged weights are from the adapter in effect."""
    nets = sys.modules["networks"]
    generator = torch.Generator().manual_seed(4)
    noisy, timesteps = torch.randn(2, 4, 32, 48, generator=generator), torch.tensor([30, 800])

    def answer(session: A1111Session) -> torch.Tensor:
        words = replace(session.encode_text([PROMPT, "a lamp"]), time_ids=torch.full((2, 6), 64.0))
        return session.predict(noisy, timesteps, words)

    with A1111Host().open(config) as session, torch.no_grad():
        targets = select(session.targets(), config.target, config.train_text_encoder)
        adapter = Adapter(targets, config.lora_rank, config.alpha)
        adapter.load(file.read(lora))
        bare = answer(session)
        with adapter.attached():
            expected = answer(session)
        nets.load_networks([lora.stem], [1.0], [1.0], [None])
        layers = len(nets.loaded_networks[0].modules)
        for module in shared.sd_model.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d | torch.nn.MultiheadAttention):
                nets.network_apply_weights(module)
        found = answer(session)
    return {
        "layers": layers,
        "error": float((found - expected).norm() / (expected - bare).norm()),
        "effect": float((expected - bare).norm() / bare.norm()),
    }


if __name__ == "__main__":
    print(json.dumps({"matrix": matrix, "train": trained}[MODE]()))
