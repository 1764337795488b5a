"""The training of the 128-px model in calls of limited length: a call continues exactly where the last one ended.

First the autoencoder, then UNet and text encoder on its latents. What is random in a step is a function of the seed and
the step's number, and a state is written whole or not at all: an interrupted training ends as an uninterrupted one.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from lora_scripts_ext import files
from lora_scripts_ext.errors import UserError
from pocket import art, diffusion, drawings, text, vae
from pocket.drawings import Drawings


@dataclass(frozen=True)
class Recipe:
    """Sizes of the networks and length of their training; the defaults are those of the 128-px model.

    side: of the images, in pixels. widths: channels by level. on_white, on_colour: placements of every drawing on white
    and on coloured grounds.
    """

    side: int = drawings.SIDE
    vae_widths: tuple[int, ...] = (96, 96, 96, 96)
    unet_widths: tuple[int, int, int] = (64, 128, 192)
    unet_layers: int = 2
    text_width: int = 192
    text_layers: int = 3
    vae_batch: int = 64
    vae_steps: int = 8_000
    unet_batch: int = 512
    unet_steps: int = 12_000
    on_white: int = 4
    on_colour: int = 3
    seed: int = 0


LARGE = Recipe()
#: a few steps of tiny networks, to try the commands on a CPU
REDUCED = Recipe(
    side=32,
    vae_widths=(32, 32, 32, 32),
    unet_widths=(32, 64, 64),
    unet_layers=1,
    text_width=64,
    text_layers=1,
    vae_batch=4,
    vae_steps=8,
    unet_batch=8,
    unet_steps=8,
    on_white=1,
    on_colour=1,
)
RECIPES = {"large": LARGE, "reduced": REDUCED}

VAE_RATE, UNET_RATE = 1.5e-3, 1e-3
DECAY = 0.2  # share of the steps in which the rate falls
WARM_UP = 200
#: how much oftener than other drawings an image is sampled that is in the style a prompt without one means
DEFAULT_STYLE_WEIGHT = 2.0
#: the same for the objects that the brands' images show
EVERYDAY_WEIGHT = 2.0
EVERYDAY = set(art.OBJECTS.values())
REPORT_EVERY = 100  # steps
SAVE_EVERY = 120.0  # seconds
RESERVE = 15.0  # seconds of a call kept for writing the state


class Clock:
    """The time of one call, from its creation."""

    def __init__(self, minutes: float) -> None:
        self._start, self._seconds = time.monotonic(), 60 * minutes - RESERVE

    def elapsed(self) -> float:
        """Seconds since the call began."""
        return time.monotonic() - self._start

    def over(self) -> bool:
        """Whether it is time to write the state and end."""
        return self.elapsed() >= self._seconds


class Training:
    """One network's training: AdamW, warm-up, a constant rate, a linear decay to 0 (arXiv:2405.18392), and a running
    average of the weights.

    loss: the loss of the step with that number, and what is reported of it.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        loss: Callable[[int], tuple[torch.Tensor, torch.Tensor]],
        steps: int,
        rate: float,
        weight_decay: float,
    ) -> None:
        self.network, self.average = network, copy.deepcopy(network).eval().requires_grad_(False)
        self.steps, self.step = steps, 0
        self._loss, self._rate = loss, rate
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
        )

    def rate(self, step: int) -> float:
        """The learning rate of the step with that number."""
        warm_up = min(1.0, (step + 1) / min(WARM_UP, self.steps))
        return self._rate * warm_up * min(1.0, (self.steps - step) / (DECAY * self.steps))

    def advance(self) -> torch.Tensor:
        """One step; returns what is reported of its loss, still on the device."""
        self._optimizer.param_groups[0]["lr"] = self.rate(self.step)
        value, reported = self._loss(self.step)
        self._optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        self.step += 1
        diffusion.follow(self.average, self.network, self.step)
        return reported.detach()

    def save(self, path: Path) -> None:
        """Write what continues this training."""
        state = {
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        write(path, state)

    def load(self, path: Path, device: torch.device) -> None:
        """Continue from a state."""
        state = torch.load(path, map_location=device, weights_only=True)
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])


def write(path: Path, value: dict) -> None:
    """Write a dictionary of tensors, whole or not at all."""
    with files.replacing(path) as temporary:
        torch.save(value, temporary)


def call(recipe: Recipe, data: Path, work: Path, minutes: float, device: torch.device) -> dict:
    """One call of the training, as much as fits into *minutes*; returns how far it is.

    data: the file of the drawings. work: the folder of the states, the same in all calls of a training.
    """
    clock = Clock(minutes)
    begin(recipe, data, work)
    # Plenty for the autoencoder, whose flat colours are small differences that bfloat16 would blur.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    drawn = drawings.read(data, recipe.side)
    encoded = (work / "autoencoder.pt").exists()
    done = {"autoencoder": run(lambda: autoencoder(recipe, drawn, device), work / "autoencoder", clock, device)}
    # However short, a call does one step at least.
    if encoded or ((work / "autoencoder.pt").exists() and not clock.over()):
        done["diffusion"] = run(lambda: denoiser(recipe, drawn, work, device), work / "diffusion", clock, device)
    return {"steps": done, "seconds": round(clock.elapsed(), 1), "done": (work / "diffusion.pt").exists()}


def begin(recipe: Recipe, data: Path, work: Path) -> None:
    """Note the recipe in the work folder, with the tokenizer; one begun by another recipe is refused.

    The numbers of steps may change, as long as the rate has not begun to fall.
    """
    noted = work / "recipe.json"
    sizes = json.loads(json.dumps(dataclasses.asdict(recipe)))
    if noted.exists():
        before = json.loads(noted.read_text(encoding="utf-8"))
        steps = {key: sizes[key] for key in ("vae_steps", "unet_steps")}
        if before | steps != sizes:
            raise UserError(f"{work} holds a training by another recipe; choose another folder with --work.")
    drawings.unpack_tokenizer(data, work / "text")
    files.write_text(noted, json.dumps(sizes, indent=1) + "\n")


def noted_recipe(work: Path) -> Recipe:
    """The recipe of the training in a work folder."""
    noted = work / "recipe.json"
    if not noted.exists():
        raise UserError(f"There is no training in {work}; begin one with train, or name its folder with --work.")
    values = json.loads(noted.read_text(encoding="utf-8"))
    return Recipe(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


def run(create: Callable[[], Training], path: Path, clock: Clock, device: torch.device) -> int:
    """Continue a training, by one step at least, until it is complete or the call is over; returns the steps done.

    path: without suffix; the state is at ``.state``, the running average of a complete training at ``.pt``.
    """
    state, result = path.with_suffix(".state"), path.with_suffix(".pt")
    if result.exists():
        return int(torch.load(result, weights_only=True)["step"])
    training = create()
    if state.exists():
        training.load(state, device)
    began, first, saved, losses = clock.elapsed(), training.step, clock.elapsed(), []
    while training.step < training.steps:
        losses.append(training.advance())
        if training.step % REPORT_EVERY == 0:
            # Reading the losses waits for the device, so the pace is right.
            loss, losses = torch.stack(losses).mean().item(), []
            pace = (clock.elapsed() - began) / (training.step - first)
            print(
                f"{path.name} step {training.step} of {training.steps}: loss {loss:.4f}, {1 / pace:.1f} steps/s, "
                f"{pace * (training.steps - training.step) / 60:.1f} min left",
                flush=True,
            )
        if clock.over():
            break
        if clock.elapsed() - saved > SAVE_EVERY:
            training.save(state)
            saved = clock.elapsed()
    if training.step >= training.steps:
        write(result, {"step": training.step, "average": training.average.state_dict()})
        state.unlink(missing_ok=True)
    else:
        training.save(state)
    return training.step


def on_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on the device that does not make the CPU wait for it."""
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def generator(device: torch.device, *numbers: int) -> torch.Generator:
    """Random numbers on the device that depend on *numbers* alone."""
    return torch.Generator(device).manual_seed(int(np.random.default_rng(numbers).integers(2**62)))


def autoencoder(recipe: Recipe, drawn: Drawings, device: torch.device) -> Training:
    """The autoencoder's training: crops of half the side, full images while the rate falls; L1 is reported."""
    torch.manual_seed(recipe.seed)
    model = vae.build(1, recipe.vae_widths, recipe.side).to(device).train()
    vae.pin_log_variance(model)
    pixels = drawn.pixels.to(device)

    def loss(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        numbers = generator(device, recipe.seed, 1, step)
        corner = np.random.default_rng([recipe.seed, 2, step]).random(2)
        side = recipe.side if step >= (1 - DECAY) * recipe.vae_steps else recipe.side // 2
        batch = vae.training_batch(pixels, recipe.vae_batch, side, corner, numbers)
        latent_side = side >> (len(recipe.vae_widths) - 1)
        shape = (recipe.vae_batch, model.config.latent_channels, latent_side, latent_side)
        rebuilt, mean = vae.rebuild(model, batch, torch.randn(shape, generator=numbers, device=device))
        return vae.loss(rebuilt, batch, mean)

    return Training(model, loss, recipe.vae_steps, VAE_RATE, weight_decay=0.0)


def denoiser(recipe: Recipe, drawn: Drawings, work: Path, device: torch.device) -> Training:
    """The training of UNet and text encoder, in bfloat16 on a GPU."""
    tokenizer = CLIPTokenizer.from_pretrained(work / "text")
    data = cached(recipe, drawn, work, tokenizer, device)
    torch.manual_seed(recipe.seed)
    pair = build_pair(recipe, tokenizer).to(device).train()
    schedule = diffusion.noise_schedule()
    values, upper = data.values.to(device), np.cumsum(data.weights)

    def loss(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        random, numbers = np.random.default_rng([recipe.seed, 3, step]), generator(device, recipe.seed, 4, step)
        picked = np.searchsorted(upper[:-1], random.random(recipe.unet_batch), side="right")
        ids = on_device(diffusion.describe(data, random, picked), device)
        clean = values[on_device(torch.from_numpy(picked), device)].contiguous(memory_format=torch.channels_last)
        noise = torch.randn(clean.shape, generator=numbers, device=device)
        times = torch.randint(0, 1000, (len(picked),), generator=numbers, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu"):
            value = diffusion.loss(pair, clean, noise, times, ids, schedule)
        return value, value

    return Training(pair, loss, recipe.unet_steps, UNET_RATE, weight_decay=0.01)


def build_pair(recipe: Recipe, tokenizer: CLIPTokenizer) -> diffusion.Pair:
    """A fresh UNet and text encoder of the recipe's sizes."""
    side = recipe.side >> (len(recipe.vae_widths) - 1)
    unet = diffusion.build(recipe.unet_widths, recipe.unet_layers, recipe.text_width, side)
    return diffusion.Pair(unet, text.build(tokenizer, recipe.text_width, recipe.text_layers))


def cached(
    recipe: Recipe, drawn: Drawings, work: Path, tokenizer: CLIPTokenizer, device: torch.device
) -> diffusion.Latents:
    """The latents of all placements of all drawings with their captions, encoded by the first call that needs them."""
    path = work / "latents.pt"
    if not path.exists():
        model = load_autoencoder(recipe, work).to(device)
        write(path, placements(recipe, drawn, model, device))
    stored = torch.load(path, weights_only=True)
    colours = [list(diffusion.COLOURS)[number] for number in stored["colours"].tolist()]
    count = len(drawn.phrases)
    weights, ways = [], []
    for number, colour in enumerate(colours):
        phrase, style = drawn.phrases[number % count], drawn.styles[number % count]
        on_white = colour == "white"
        weight = diffusion.WHITE / recipe.on_white if on_white else (1 - diffusion.WHITE) / recipe.on_colour
        weight *= DEFAULT_STYLE_WEIGHT if style == diffusion.STYLE else 1
        weights.append(weight * (EVERYDAY_WEIGHT if phrase in EVERYDAY else 1))
        ways.append(diffusion.captions(phrase, colour, style))
    return diffusion.latents(stored["values"].float(), weights, ways, tokenizer)


@torch.no_grad()
def placements(recipe: Recipe, drawn: Drawings, model: AutoencoderKL, device: torch.device) -> dict[str, torch.Tensor]:
    """Every drawing, scaled and shifted at random, on white and on coloured grounds, encoded.

    Returns ``values``, [placements x N, 4, side, side] float16, not yet scaled, and ``colours``, the numbers of the
    grounds in ``diffusion.COLOURS``, [placements x N].
    """
    random, names = np.random.default_rng([recipe.seed, 5]), list(diffusion.COLOURS)
    palette = torch.tensor(list(diffusion.COLOURS.values()), device=device) / 255
    values, colours = [], []
    for placement in range(recipe.on_white + recipe.on_colour):
        grounds = np.full(len(drawn.phrases), names.index("white"))
        if placement >= recipe.on_white:
            grounds = random.choice([n for n, name in enumerate(names) if name != "white"], len(grounds))
        encoded = torch.empty(len(grounds), 4, *[recipe.side >> (len(recipe.vae_widths) - 1)] * 2, dtype=torch.float16)
        for part in np.array_split(random.permutation(len(grounds)), math.ceil(len(grounds) / 64)):
            pixels = drawn.pixels[part].to(device)
            scale, shift = random.uniform(0.80, 0.94), random.uniform(-1, 1, 2) * recipe.side / 64
            ground = palette[torch.from_numpy(grounds[part]).to(device)]
            encoded[part] = vae.encode(model, placed(pixels, scale, shift.round().astype(int), ground)).half().cpu()
        values.append(encoded)
        colours.append(torch.from_numpy(grounds))
    return {"values": torch.cat(values), "colours": torch.cat(colours)}


def placed(pixels: torch.Tensor, scale: float, shift: np.ndarray, ground: torch.Tensor) -> torch.Tensor:
    """Drawings [n, S, S, 4] uint8 scaled about the centre, shifted by pixels (down, right), on plain colours [n, 3].

    Returns [n, 3, S, S] in -1..1, channels-last.
    """
    side = pixels.shape[1]
    size = round(side * scale)
    layers = pixels.permute(0, 3, 1, 2).float() / 255
    # Premultiplied, so that the colour of transparent pixels does not bleed in.
    layers = torch.cat([layers[:, :3] * layers[:, 3:], layers[:, 3:]], dim=1)
    layers = F.interpolate(layers, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (int((side - size) // 2 + move) for move in shift)
    layers = F.pad(layers, (left, side - size - left, top, side - size - top))
    full = layers[:, :3] + ground[:, :, None, None] * (1 - layers[:, 3:])
    return (full.clamp(0, 1) * 2 - 1).contiguous(memory_format=torch.channels_last)


def load_autoencoder(recipe: Recipe, work: Path) -> AutoencoderKL:
    """The autoencoder of a training, on the CPU."""
    model = vae.build(1, recipe.vae_widths, recipe.side).eval()
    model.load_state_dict(_average(work / "autoencoder"))
    return model


def load_pair(recipe: Recipe, work: Path) -> diffusion.Pair:
    """UNet and text encoder of a training, on the CPU."""
    pair = build_pair(recipe, CLIPTokenizer.from_pretrained(work / "text")).eval()
    pair.load_state_dict(_average(work / "diffusion"))
    return pair


def scale_factor(work: Path) -> float:
    """What a training's latents were multiplied with."""
    return diffusion.unit_factor(torch.load(work / "latents.pt", weights_only=True)["values"].float())


def _average(path: Path) -> dict[str, torch.Tensor]:
    """The running average of a training, complete or not."""
    for candidate in (path.with_suffix(".pt"), path.with_suffix(".state")):
        if candidate.exists():
            return torch.load(candidate, map_location="cpu", weights_only=True)["average"]
    raise UserError(f"{path.parent} has no trained {path.name} yet; continue the training with train.")
