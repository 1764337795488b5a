"""The pocket autoencoder: images to 16 x 16 latents of 4 channels, trained on every drawing of the packs.

The latent's log-variance is pinned, so "encode" is the mean plus a little fixed noise: with so small a network
nothing is gained by training it. 32 norm groups throughout, as the original layout hard-codes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch.utils.hooks import RemovableHandle

from lora_scripts_ext import files

SIDE = 64
LOG_VARIANCE = -5.0


def build(layers: int, widths: tuple[int, ...] = (96, 96, 96), side: int = SIDE) -> AutoencoderKL:
    """A fresh autoencoder, channels-last, its log-variance pinned to ``LOG_VARIANCE``.

    All levels are 96 wide, three channels to a norm group. With so few channels a norm would wipe out flat
    colours (of a flat image only ratios within a group are left), so the biases start as +2, -2, 0 in each group: a
    yardstick beside which the norm is nearly linear.

    layers: residual blocks per level of the encoder; the decoder has one more. widths: channels of the levels; each
    level but the last halves the image. side: of the images, in pixels.
    """
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=layers,
        latent_channels=4,
        norm_num_groups=32,
        sample_size=side,
    )
    with torch.no_grad():
        for name, part in model.named_modules():
            if name.endswith((".conv", ".conv1", "decoder.conv_in")):
                part.bias += torch.tensor([2.0, -2.0, 0.0]).repeat(len(part.bias) // 3 + 1)[: len(part.bias)]
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


def studio(count: int, side: int, random: torch.Generator) -> torch.Tensor:
    """Random lit rooms, [count, 3, side, side] in 0..1: a gradient, a light, a glowing ring, and often a floor."""

    def number(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * uniform(random, count, 1, 1, 1)

    wall, light, neon, ground = uniform(random, 4, count, 3, 1, 1)
    places = torch.arange(side, device=random.device) / side
    y, x = places[:, None], places[None, :]
    away = torch.hypot(x - number(0.2, 0.8), y - number(0.2, 0.8))
    room = wall * number(0.1, 1.0) * (1 + y * number(-0.8, 0.8))
    room = room + (light - room) * number(0, 1) * torch.exp(-((away / number(0.2, 0.8)) ** 2))
    edge = (away - number(0.1, 0.5)).abs()
    ring = torch.maximum(torch.exp(-((edge / number(0.02, 0.15)) ** 2)) * 0.6, (edge < number(0.0, 0.03)).float())
    room = room + (neon - room) * ring * (number(0, 1) < 0.5)
    return torch.where(y > number(0.6, 1.4), ground * number(0.1, 1.0), room).clip(0, 1)


def uniform(random: torch.Generator, *shape: int) -> torch.Tensor:
    """Random numbers in 0..1 on the generator's device."""
    return torch.rand(shape, generator=random, device=random.device)


def backdrop(count: int, side: int, random: torch.Generator) -> torch.Tensor:
    """Random backdrops, [count, 3, side, side] in 0..1: white, one plain colour (often pale), or a lit room."""
    kind = uniform(random, count, 1, 1, 1)
    pale = 0.7 * (uniform(random, count, 1, 1, 1) < 0.5)
    plain = pale + (1 - pale) * uniform(random, count, 3, 1, 1)
    rooms = studio(count, side, random)
    return torch.where(kind < 0.35, 1.0, torch.where(kind < 0.6, plain, rooms))


def training_batch(
    drawings: torch.Tensor, count: int, side: int, corner: Sequence[float], random: torch.Generator
) -> torch.Tensor:
    """A training batch: random drawings [N, S, S, 4] uint8 on random backdrops, cropped to *side*, mirrored at random.

    corner: where the crop is between top and bottom and between left and right, both in 0..1.

    Returns [count, 3, side, side] in -1..1, channels-last, on the device of *drawings* and *random*.
    """
    picked = torch.randint(len(drawings), (count,), generator=random, device=random.device)
    pixels = drawings[picked].permute(0, 3, 1, 2).float() / 255
    alpha = pixels[:, 3:]
    full = pixels[:, :3] * alpha + backdrop(count, drawings.shape[1], random) * (1 - alpha)
    top, left = (int(part * (full.shape[-1] - side + 1)) for part in corner)
    full = full[..., top : top + side, left : left + side]
    full = torch.where(uniform(random, count, 1, 1, 1) < 0.5, full.flip(-1), full)
    return (full * 2 - 1).contiguous(memory_format=torch.channels_last)


def loss(rebuilt: torch.Tensor, target: torch.Tensor, mean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(the training loss, the plain L1 on -1..1): L1 at three scales, of the edges, and a pull on the latent's size."""
    gap = rebuilt - target
    plain = gap.abs().mean()
    coarse = F.avg_pool2d(gap, 2).abs().mean() + F.avg_pool2d(gap, 8).abs().mean()
    edges = gap.diff(dim=2).abs().mean() + gap.diff(dim=3).abs().mean()
    return plain + coarse + 0.5 * edges + 2e-3 * mean.square().mean(), plain


def encode(model: AutoencoderKL, batch: torch.Tensor) -> torch.Tensor:
    """The latent means, [count, 4, rows, columns], not yet scaled."""
    return model.quant_conv(model.encoder(batch))[:, :4]


def pin_log_variance(model: AutoencoderKL) -> list[RemovableHandle]:
    """Keep training from the log-variance's weights; returns the hooks that do so."""
    pinned = [model.quant_conv.weight, model.quant_conv.bias]
    return [part.register_hook(lambda slope: torch.cat([slope[:4], torch.zeros_like(slope[4:])])) for part in pinned]


def rebuild(model: AutoencoderKL, batch: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(a batch [count, 3, side, side] encoded and decoded, its latent means); *noise* has the means' shape."""
    mean = encode(model, batch)
    latent = mean + math.exp(LOG_VARIANCE / 2) * noise
    return model.decoder(model.post_quant_conv(latent)), mean


def fit(model: AutoencoderKL, drawings: torch.Tensor, plan: Plan, state: Path, seed: int) -> None:
    """Train *model* by *plan*: AdamW, 100 steps of warm-up, then a cosine over the time. Writes *state* as it goes."""
    random = torch.Generator().manual_seed(seed)
    hooks = pin_log_variance(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=0.0)
    start, step, losses = time.time(), 0, []
    while (done := (time.time() - start) / (60 * plan.minutes)) < 1:
        cosine = plan.floor + (1 - plan.floor) * 0.5 * (1 + math.cos(math.pi * done))
        optimizer.param_groups[0]["lr"] = plan.rate * min(1, (step + 1) / 100) * cosine
        batch = training_batch(drawings, plan.count, plan.side, uniform(random, 2).tolist(), random)
        latent_side = plan.side // 4
        rebuilt, mean = rebuild(model, batch, torch.randn((plan.count, 4, latent_side, latent_side)))
        value, plain = loss(rebuilt, batch, mean)
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


def train(drawings: torch.Tensor, minutes: float, state: Path, seed: int = 0) -> AutoencoderKL:
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
