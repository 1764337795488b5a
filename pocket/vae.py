"""The pocket autoencoder: 64-px images to 16 x 16 latents of 4 channels, trained on every drawing of the packs.

The latent's log-variance is pinned, so "encode" is the mean plus a little fixed noise: with so small a network
nothing is gained by training it. 32 norm groups throughout, as the original layout hard-codes.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from lora_scripts_ext import files

SIDE = 64
LOG_VARIANCE = -5.0


def build(layers: int) -> AutoencoderKL:
    """A fresh autoencoder, channels-last, its log-variance pinned to ``LOG_VARIANCE``.

    All three levels are 96 wide, three channels to a norm group. With so few channels a norm would wipe out flat
    colours (of a flat image only ratios within a group are left), so the biases start as +2, -2, 0 in each group: a
    yardstick beside which the norm is nearly linear.

    layers: residual blocks per level of the encoder; the decoder has one more.
    """
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(96, 96, 96),
        layers_per_block=layers,
        latent_channels=4,
        norm_num_groups=32,
        sample_size=SIDE,
    )
    with torch.no_grad():
        for name, part in model.named_modules():
            if name.endswith((".conv", ".conv1", "decoder.conv_in")):
                part.bias += torch.tensor([2.0, -2.0, 0.0]).repeat(32)
        model.quant_conv.weight[4:] = 0
        model.quant_conv.bias[4:] = LOG_VARIANCE
    return model.to(memory_format=torch.channels_last)


def grow(core: AutoencoderKL) -> AutoencoderKL:
    """The same function with a residual block more on every level, each of which adds nothing."""
    model = build(1)
    extra = model.load_state_dict(core.state_dict(), strict=False).missing_keys
    with torch.no_grad():
        for name in extra:
            if ".conv1." in name or ".conv2." in name:
                model.get_parameter(name).zero_()
    return model


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train, on batches of *count* squares of *side* pixels.

    floor: share of the rate left at the end of the cosine.
    """

    minutes: float
    rate: float
    floor: float
    count: int
    side: int


def studio(count: int, side: int, random: np.random.Generator) -> np.ndarray:
    """Random lit rooms, [count, side, side, 3] in 0..1: a gradient, a light, a glowing ring, and often a floor."""

    def number(low: float, high: float) -> np.ndarray:
        return random.uniform(low, high, (count, 1, 1, 1))

    wall, light, neon, ground = random.random((4, count, 1, 1, 3))
    y, x = (plane[None, :, :, None] / side for plane in np.mgrid[0:side, 0:side])
    away = np.hypot(x - number(0.2, 0.8), y - number(0.2, 0.8))
    room = wall * number(0.1, 1.0) * (1 + y * number(-0.8, 0.8))
    room = room + (light - room) * number(0, 1) * np.exp(-((away / number(0.2, 0.8)) ** 2))
    edge = np.abs(away - number(0.1, 0.5))
    ring = np.maximum(np.exp(-((edge / number(0.02, 0.15)) ** 2)) * 0.6, edge < number(0.0, 0.03))
    room = room + (neon - room) * ring * (number(0, 1) < 0.5)
    return np.where(y > number(0.6, 1.4), ground * number(0.1, 1.0), room).clip(0, 1)


def backdrop(count: int, side: int, random: np.random.Generator) -> np.ndarray:
    """Random backdrops, [count, side, side, 3] float32 in 0..1: white, one plain colour (often pale), or a lit room."""
    kind = random.random((count, 1, 1, 1))
    pale = random.choice([0.0, 0.7], (count, 1, 1, 1))
    plain = pale + (1 - pale) * random.random((count, 1, 1, 3))
    rooms = studio(count, side, random)
    return np.where(kind < 0.35, 1.0, np.where(kind < 0.6, plain, rooms)).astype(np.float32)


def training_batch(drawings: np.ndarray, count: int, side: int, random: np.random.Generator) -> torch.Tensor:
    """A training batch: random drawings [N, 64, 64, 4] on random backdrops, cropped to *side* and mirrored at random.

    Returns [count, 3, side, side] in -1..1, channels-last.
    """
    picked = drawings[random.integers(0, len(drawings), count)].astype(np.float32) / 255
    alpha = picked[..., 3:]
    full = picked[..., :3] * alpha + backdrop(count, drawings.shape[1], random) * (1 - alpha)
    if side < full.shape[1]:
        top, left = random.integers(0, full.shape[1] - side + 1, 2)
        full = full[:, top : top + side, left : left + side]
    flipped = random.random((count, 1, 1, 1)) < 0.5
    full = np.where(flipped, full[:, :, ::-1], full)
    tensor = torch.from_numpy(full.astype(np.float32)).permute(0, 3, 1, 2) * 2 - 1
    return tensor.contiguous(memory_format=torch.channels_last)


def loss(rebuilt: torch.Tensor, target: torch.Tensor, mean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(the training loss, the plain L1 on -1..1): L1 at three scales, of the edges, and a pull on the latent's size."""
    gap = rebuilt - target
    plain = gap.abs().mean()
    coarse = F.avg_pool2d(gap, 2).abs().mean() + F.avg_pool2d(gap, 8).abs().mean()
    edges = gap.diff(dim=2).abs().mean() + gap.diff(dim=3).abs().mean()
    return plain + coarse + 0.5 * edges + 2e-3 * mean.square().mean(), plain


def encode(model: AutoencoderKL, batch: torch.Tensor) -> torch.Tensor:
    """The latent means, [count, 4, side / 4, side / 4], not yet scaled."""
    return model.quant_conv(model.encoder(batch))[:, :4]


def fit(model: AutoencoderKL, drawings: np.ndarray, plan: Plan, state: Path, seed: int) -> None:
    """Train *model* by *plan*: AdamW, 100 steps of warm-up, then a cosine over the time. Writes *state* as it goes."""
    random = np.random.default_rng(seed)
    pinned = [model.quant_conv.weight, model.quant_conv.bias]
    hooks = [part.register_hook(lambda slope: torch.cat([slope[:4], torch.zeros_like(slope[4:])])) for part in pinned]
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=0.0)
    start, step, losses = time.time(), 0, []
    while (done := (time.time() - start) / (60 * plan.minutes)) < 1:
        cosine = plan.floor + (1 - plan.floor) * 0.5 * (1 + math.cos(math.pi * done))
        optimizer.param_groups[0]["lr"] = plan.rate * min(1, (step + 1) / 100) * cosine
        batch = training_batch(drawings, plan.count, plan.side, random)
        mean = encode(model, batch)
        latent = mean + math.exp(LOG_VARIANCE / 2) * torch.randn_like(mean)
        value, plain = loss(model.decoder(model.post_quant_conv(latent)), batch, mean)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(plain.item())
        step += 1
        if step % 100 == 0:
            print(
                f"autoencoder step {step}, {(time.time() - start) / 60:.1f} min: L1 {np.mean(losses[-100:]):.4f}",
                flush=True,
            )
            save(model, state)
    save(model, state)
    for hook in hooks:
        hook.remove()


def save(model: AutoencoderKL, path: Path) -> None:
    """Write the weights."""
    with files.replacing(path) as temporary:
        torch.save(model.state_dict(), temporary)


def train(drawings: np.ndarray, minutes: float, state: Path, seed: int = 0) -> AutoencoderKL:
    """Train a fresh autoencoder on *drawings* ([N, 64, 64, 4] uint8) for *minutes* of wall clock.

    Crops first, full images after. Trained is a core without residual blocks on the encoder's levels, where they
    would cost most; the original layout wants one on every level, so the result has them, adding nothing.
    """
    torch.manual_seed(seed)
    core = build(0).train()
    fit(core, drawings, Plan(0.6 * minutes, 2e-3, floor=0.3, count=12, side=32), state.with_suffix(".core"), seed)
    fit(
        core,
        drawings,
        Plan(0.4 * minutes, 1.5e-3, floor=0.01, count=4, side=SIDE),
        state.with_suffix(".core"),
        seed + 1,
    )
    model = grow(core)
    save(model, state)
    return model.eval()
