"""How good a LoRA for a brand of the pocket model is: two measures on held-out objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lora_scripts_ext.config import Config
from lora_scripts_ext.contract import Conditioning
from lora_scripts_ext.hosts.standalone.session import StandaloneSession
from lora_scripts_ext.training import objective
from pocket import demo

POCKET = Path(demo.HERE)
#: brand -> the folder that holds its ``brand/``, ``tuning/`` and ``held_out/``
BRANDS = {"lumora": POCKET, "argilla": POCKET / "argilla"}
TIMESTEPS_PER_IMAGE = 8
DRAWING_SEED = 11


@dataclass(frozen=True)
class Measures:
    """The held-out images of a brand, with fixed noise.

    Attributes:
        config: settings of the previews.
        objects: the brand's own images with their prompts.
        noisy: float32 [objects · timesteps, channels, height, width], and so is ``noises``, the target.
        timesteps: int64 [objects · timesteps].
        conditioning: of as many captions.
    """

    config: Config
    objects: list[demo.Object]
    noisy: Tensor
    noises: Tensor
    timesteps: Tensor
    conditioning: Conditioning

    @torch.no_grad()
    def loss(self, session: StandaloneSession) -> float:
        """Mean squared error of the predicted noise, over the fixed pairs of noise and timestep."""
        return (session.predict(self.noisy, self.timesteps, self.conditioning) - self.noises).square().mean().item()

    def distance(self, session: StandaloneSession) -> float:
        """The demo's distance, with one preview per object; see ``pocket/README.md``."""
        previews = [[session.preview(demo.request(self.config, one.prompt, DRAWING_SEED))] for one in self.objects]
        return float(demo.mean_distances(self.objects, previews).mean())


@torch.no_grad()
def measures(session: StandaloneSession, config: Config, folder: Path) -> Measures:
    """The measures on the images in ``folder``: each at ``TIMESTEPS_PER_IMAGE`` timesteps, one from every stretch of
    the schedule, with a noise of its own each time; the same in every call.
    """
    objects = demo.read_objects(folder)
    sides = config.sides(session.model.resolution)
    pixels = torch.stack([pixels_of(one.image, sides) for one in objects])
    latents = session.encode_images(pixels).mean.repeat_interleave(TIMESTEPS_PER_IMAGE, 0)
    generator = torch.Generator().manual_seed(0)
    stretch = len(session.model.alphas_cumprod) / TIMESTEPS_PER_IMAGE
    starts = torch.arange(TIMESTEPS_PER_IMAGE).repeat(len(objects)) * stretch
    timesteps = (starts + stretch * torch.rand(len(starts), generator=generator)).long()
    noises = torch.randn(latents.shape, generator=generator)
    noisy = objective.add_noise(latents, noises, session.model.alphas_cumprod[timesteps])
    context = session.encode_text([one.prompt for one in objects]).context.repeat_interleave(TIMESTEPS_PER_IMAGE, 0)
    return Measures(config, objects, noisy, noises, timesteps, Conditioning(context))


def pixels_of(image: demo.Image.Image, sides: tuple[int, int]) -> Tensor:
    """An image as the autoencoder takes it: float32 [3, height, width] in [-1, 1]."""
    small = np.asarray(image.convert("RGB").resize(sides, demo.Image.Resampling.LANCZOS), np.float32)
    return torch.from_numpy(small).permute(2, 0, 1) / 127.5 - 1
