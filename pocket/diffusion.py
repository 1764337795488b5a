"""The pocket diffusion model: UNet and text encoder trained together on the cached latents of the drawings."""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from lora_scripts_ext import files
from pocket import art, text, vae

COLOURS = {
    "white": (255, 255, 255),
    "pink": (255, 205, 215),
    "blue": (190, 220, 255),
    "green": (200, 240, 200),
    "yellow": (255, 240, 180),
    "grey": (205, 205, 210),
}
STYLE = "flat"
WHITE = 0.85  # how much of the time the ground is white
BATCH, RATE, DROPOUT, SNR = 32, 1e-3, 0.1, 5.0
STRANGE = 0.15  # how often tokens that are in no caption are put in front


def captions(phrase: str, colour: str, style: str = STYLE) -> list[str]:
    """The captions of one image; a white ground may be omitted, and the style if it is the flat one."""
    ground = f", {colour} background"
    described = [f"{style} style, {phrase}{ground}", f"{phrase}, {style} style{ground}"]
    if colour == "white":
        described.append(f"{style} style, {phrase}")
    if style == STYLE:
        described += [f"{phrase}{ground}", phrase] if colour == "white" else [f"{phrase}{ground}"]
    return described


def composed(drawing: np.ndarray, scale: float, shift: tuple[int, int], colour: tuple[int, int, int]) -> np.ndarray:
    """A drawing scaled about the centre, shifted by whole pixels, on one plain colour: [64, 64, 3] uint8."""
    side = round(vae.SIDE * scale)
    image = Image.fromarray(drawing).resize((side, side), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (vae.SIDE, vae.SIDE), colour)
    corner = ((vae.SIDE - side) // 2 + shift[0], (vae.SIDE - side) // 2 + shift[1])
    canvas.paste(image, corner, image)
    return np.asarray(canvas)


@dataclass
class Latents:
    """Cached latents [N, 4, 16, 16] (scaled to unit spread), how often each is sampled, and its captions.

    weights: they add up to 1. ids: the token rows of all captions, [M, 77], the first that of an empty one. first,
    ways: the first of a latent's captions in *ids*, and how many they are, [N] each. strange: the tokens that are in no
    caption.
    """

    values: torch.Tensor
    weights: np.ndarray
    ids: torch.Tensor
    first: np.ndarray
    ways: np.ndarray
    strange: np.ndarray
    scale_factor: float


def unit_factor(values: torch.Tensor) -> float:
    """What latents are multiplied with for a spread of 1."""
    return float(1 / values.std())


def latents(
    values: torch.Tensor, weights: Sequence[float], ways: Sequence[Sequence[str]], tokenizer: CLIPTokenizer
) -> Latents:
    """Latents from the autoencoder's means, how often each is wanted, and its captions."""
    factor = unit_factor(values)
    counts = np.array([len(captions) for captions in ways])
    ids = text.ids(tokenizer, ["", *itertools.chain.from_iterable(ways)])
    strange = np.setdiff1d(np.arange(len(tokenizer)), ids.unique().numpy())
    share = np.asarray(weights) / np.sum(weights)
    return Latents(values * factor, share, ids, 1 + np.cumsum(counts) - counts, counts, strange, factor)


@torch.no_grad()
def cache(model: AutoencoderKL, tokenizer: CLIPTokenizer, packs: Path, seed: int = 0) -> Latents:
    """Encode every object's flat drawing: six placements on white, one on each other colour."""
    random = np.random.default_rng(seed)
    images, weights, ways = [], [], []
    for icon, phrase in art.OBJECTS.items():
        drawing = art.draw(STYLE, icon, 4 * vae.SIDE, packs)
        for colour in ["white"] * 6 + list(COLOURS)[1:]:
            scale, shift = random.uniform(0.80, 0.94), tuple(random.integers(-1, 2, 2))
            images.append(composed(drawing, scale, shift, COLOURS[colour]))
            weights.append(WHITE / 6 if colour == "white" else (1 - WHITE) / 5)
            ways.append(captions(phrase, colour))
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    values = torch.cat([model.encode(part).latent_dist.mean for part in batch.split(64)])
    return latents(values, weights, ways, tokenizer)


def build(
    widths: tuple[int, int, int] = (64, 128, 192), layers: int = 1, text_width: int = 128, side: int = 16
) -> UNet2DConditionModel:
    """A fresh UNet of three levels, cross-attention on the two wider ones, 2 heads, channels-last.

    layers: residual blocks per level. text_width: of the text encoder. side: of the latents.
    """
    model = UNet2DConditionModel(
        sample_size=side,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=widths,
        layers_per_block=layers,
        cross_attention_dim=text_width,
        attention_head_dim=2,
        norm_num_groups=32,
    )
    return model.to(memory_format=torch.channels_last)


def noise_schedule(prediction: str = "epsilon") -> DDIMScheduler:
    """Stable Diffusion v1's schedule: 1000 steps, scaled-linear betas 0.00085 to 0.012, epsilon prediction."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    )


class Pair(torch.nn.Module):
    """The two networks that are trained together."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(self, noisy: torch.Tensor, steps: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """The predicted noise, [count, 4, side, side], for token rows *ids* [count, 77]."""
        return self.unet(noisy, steps, self.text_encoder(ids).last_hidden_state).sample


def describe(data: Latents, random: np.random.Generator, picked: np.ndarray) -> torch.Tensor:
    """Token rows [count, 77] for the *picked* latents: a caption of each, none, or one with strange tokens in front.

    Strange tokens are in no caption. The model learns to ignore them, so that a trigger word without a LoRA does not
    change the object.
    """
    count = len(picked)
    rows = data.first[picked] + (random.random(count) * data.ways[picked]).astype(int)
    ids = data.ids[np.where(random.random(count) < DROPOUT, 0, rows)].numpy()
    shift = np.where(random.random(count) < STRANGE, random.integers(1, 4, count), 0)[:, None]
    position = np.arange(ids.shape[1])
    shifted = np.take_along_axis(ids, np.maximum(position - shift, 0), 1)
    strange = random.choice(data.strange, ids.shape)
    return torch.from_numpy(np.where((position >= 1) & (position <= shift), strange, shifted))


def loss(
    pair: Pair,
    clean: torch.Tensor,
    noise: torch.Tensor,
    steps: torch.Tensor,
    ids: torch.Tensor,
    schedule: DDIMScheduler,
) -> torch.Tensor:
    """Epsilon loss of a batch, weighted by min(SNR, 5) / SNR (Hang et al. 2023, arXiv:2303.09556)."""
    guess = pair(schedule.add_noise(clean, noise, steps), steps, ids)
    level = schedule.alphas_cumprod.to(steps.device)[steps]
    ratio = level / (1 - level)
    return ((guess.float() - noise).square().mean((1, 2, 3)) * ratio.clamp(max=SNR) / ratio).mean()


def random_loss(pair: Pair, data: Latents, schedule: DDIMScheduler, random: np.random.Generator) -> torch.Tensor:
    """The loss of a random batch, in bfloat16."""
    picked = random.choice(len(data.weights), BATCH, p=data.weights)
    clean = data.values[picked].contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        ids = describe(data, random, picked)
        return loss(pair, clean, torch.randn_like(clean), torch.randint(0, 1000, (BATCH,)), ids, schedule)


@torch.no_grad()
def follow(average: torch.nn.Module, network: torch.nn.Module, step: int) -> None:
    """Move the running average towards *network*: decay min(0.999, (1 + step) / (10 + step))."""
    decay = min(0.999, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)


def train(data: Latents, tokenizer: CLIPTokenizer, minutes: float, state: Path, seed: int = 0) -> Pair:
    """Train for *minutes* of wall clock in all, resuming from *state* where it exists; returns the running average.

    AdamW 1e-3, 200 steps of warm-up, cosine over the time; the state is written every 200 steps. The forward pass is
    in bfloat16 with unfused attention, whose backward pass is faster on CPUs than that of the fused kernel.
    """
    torch.manual_seed(seed)
    pair = Pair(build(), text.build(tokenizer)).train()
    pair.unet.set_attn_processor(AttnProcessor())
    average = copy.deepcopy(pair).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(pair.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    step, before = 0, 0.0
    if state.exists():
        state_dicts = torch.load(state, weights_only=True)
        pair.load_state_dict(state_dicts["pair"])
        average.load_state_dict(state_dicts["average"])
        optimizer.load_state_dict(state_dicts["optimizer"])
        step, before = state_dicts["step"], state_dicts["seconds"]
    torch.manual_seed(seed + step)
    random = np.random.default_rng([seed, step])
    schedule, start, losses = noise_schedule(), time.time() - before, []
    while (done := (time.time() - start) / (60 * minutes)) < 1:
        rate = RATE * min(1, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        optimizer.param_groups[0]["lr"] = rate
        value = random_loss(pair, data, schedule, random)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(pair.parameters(), 1.0)
        optimizer.step()
        step += 1
        follow(average, pair, step)
        losses.append(value.item())
        if step % 200 == 0:
            seconds = time.time() - start
            print(f"diffusion step {step}, {seconds / 60:.1f} min: loss {np.mean(losses[-200:]):.4f}", flush=True)
            keep(state, pair, average, optimizer, step, seconds)
    keep(state, pair, average, optimizer, step, time.time() - start)
    print(f"diffusion done after {step} steps: loss {np.mean(losses[-200:]):.4f}", flush=True)
    return average


def keep(path: Path, pair: Pair, average: Pair, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
    """Write the resumable state in one go, so that a reader never sees half a file."""
    parts = {"pair": pair.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
    with files.replacing(path) as temporary:
        torch.save(parts | {"step": step, "seconds": seconds}, temporary)


@torch.no_grad()
def sample(
    pair: Pair,
    model: AutoencoderKL,
    ids: torch.Tensor,
    empty: torch.Tensor,
    factor: float,
    seed: int = 0,
    steps: int = 20,
    guidance: float = 4.0,
) -> np.ndarray:
    """DDIM images of token rows *ids*: [count, side, side, 3] uint8.

    empty: the token row [1, 77] of the empty prompt; factor: the latents' scale factor; guidance: classifier-free.
    """
    schedule = noise_schedule()
    schedule.set_timesteps(steps)
    side = pair.unet.config.sample_size
    latent = torch.randn((len(ids), 4, side, side), generator=torch.Generator().manual_seed(seed))
    conditioning = pair.text_encoder(torch.cat([empty.expand(len(ids), -1), ids])).last_hidden_state
    for timestep in schedule.timesteps:
        unconditional, conditional = pair.unet(torch.cat([latent, latent]), timestep, conditioning).sample.chunk(2)
        latent = schedule.step(unconditional + guidance * (conditional - unconditional), timestep, latent).prev_sample
    images = model.decode(latent / factor).sample.clamp(-1, 1)
    return ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
