"""The pocket autoencoder: 64-px pictures to 16 x 16 latents of 4 channels, trained on every drawing of the packs.

The latent's log-variance is pinned, so "encode" is the mean plus a little fixed noise: with so small a network
nothing is gained by learning it. 32 norm groups throughout, as the original layout hard-codes.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

SIDE = 64
LOG_VARIANCE = -5.0


def build() -> AutoencoderKL:
    """A fresh autoencoder, channels-last, its log-variance pinned to ``LOG_VARIANCE``."""
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(64, 64, 128),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=32,
        sample_size=SIDE,
    )
    with torch.no_grad():
        model.quant_conv.weight[4:] = 0
        model.quant_conv.bias[4:] = LOG_VARIANCE
    return model.to(memory_format=torch.channels_last)


def backdrop(count: int, side: int, random: np.random.Generator) -> np.ndarray:
    """Random backdrops, [count, side, side, 3] float32 in 0..1: white, one plain colour, or a lit gradient."""
    kind = random.random((count, 1, 1, 1))
    plain = random.random((count, 1, 1, 3))
    other = random.random((count, 1, 1, 3))
    y, x = np.mgrid[0:side, 0:side] / side
    centre = random.random((2, count, 1, 1))
    reach = random.uniform(0.2, 1.0, (count, 1, 1))
    light = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / reach**2)[..., None]
    slope = y[None, :, :, None] * random.uniform(-1, 1, (count, 1, 1, 1)) + 0.5
    lit = np.clip(plain * slope * 0.6 + other * light, 0, 1)
    return np.where(kind < 0.3, 1.0, np.where(kind < 0.5, plain, lit)).astype(np.float32)


def pictures(drawings: np.ndarray, count: int, side: int, random: np.random.Generator) -> torch.Tensor:
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
    """(the training loss, the plain L1 on -1..1): L1 at two scales, L1 of the edges, and a pull on the latent's size."""
    gap = rebuilt - target
    plain = gap.abs().mean()
    half = F.avg_pool2d(gap, 2).abs().mean()
    edges = gap.diff(dim=2).abs().mean() + gap.diff(dim=3).abs().mean()
    return plain + half + 0.5 * edges + 2e-3 * mean.square().mean(), plain


def train(drawings: np.ndarray, minutes: float, state: Path, seed: int = 0) -> AutoencoderKL:
    """Train a fresh autoencoder for *minutes* of wall clock; the state dict is written to *state* as it goes.

    The first 70 % of the time sees 32-px crops in batches of 32, the rest whole pictures in batches of 12. AdamW,
    2e-3 with 100 steps of warm-up, then a cosine over the time.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = build().train()
    model.quant_conv.weight.register_hook(lambda g: torch.cat([g[:4], torch.zeros_like(g[4:])]))
    model.quant_conv.bias.register_hook(lambda g: torch.cat([g[:4], torch.zeros_like(g[4:])]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0)
    start, step, shown = time.time(), 0, []
    while (done := (time.time() - start) / (60 * minutes)) < 1:
        rate = 2e-3 * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        optimizer.param_groups[0]["lr"] = rate
        batch = pictures(drawings, 32, 32, random) if done < 0.7 else pictures(drawings, 12, SIDE, random)
        mean = model.quant_conv(model.encoder(batch))[:, :4]
        latent = mean + math.exp(LOG_VARIANCE / 2) * torch.randn_like(mean)
        whole, plain = loss(model.decoder(model.post_quant_conv(latent)), batch, mean)
        optimizer.zero_grad(set_to_none=True)
        whole.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        shown.append(plain.item())
        step += 1
        if step % 200 == 0:
            minutes_in = (time.time() - start) / 60
            print(f"autoencoder step {step}, {minutes_in:.1f} min: L1 {np.mean(shown[-200:]):.4f}", flush=True)
            torch.save(model.state_dict(), state)
    torch.save(model.state_dict(), state)
    return model.eval()
