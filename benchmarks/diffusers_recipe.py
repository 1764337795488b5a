"""The reference: what diffusers' ``train_text_to_image_lora.py`` does, with its documented settings.

They are those of the launch command in diffusers' guide (docs/source/en/training/lora.md, "Launch the script"):
batch size 1, four accumulation steps, AdamW at 1e-4 with a cosine to zero, no warm-up, gradient norm clipped to
1, random flips; the script's defaults for the rest (betas 0.9 and 0.999, weight decay 0.01, epsilon 1e-8). The adapter
is PEFT's on the attention's four matrices, alpha = rank, ``down`` Gaussian. As there, autoencoder and text encoder run
in every step. Images stay decoded in memory here, which spares this reference what the script's data loader costs.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig
from PIL import Image
from torch import Tensor, nn

from benchmarks.quality import pixels_of
from benchmarks.ways import twin
from lora_scripts_ext.hosts.standalone.session import StandaloneSession

TARGETS = ["to_k", "to_q", "to_v", "to_out.0"]
RATE = 1e-4
ACCUMULATED = 4


@dataclass(frozen=True)
class Recipe:
    """The reference's settings, as documented by default; ``steps`` is where its cosine ends."""

    steps: int
    rank: int
    rate: float = RATE
    batch: int = 1
    accumulated: int = ACCUMULATED
    flip: bool = True


class Reference:
    """A training in progress; ``session`` is the model with the adapter on."""

    def __init__(
        self, session: StandaloneSession, folder: Path, sides: tuple[int, int], recipe: Recipe, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self.session = twin(session)
        self.recipe = recipe
        unet = self.session._unet
        unet.add_adapter(
            LoraConfig(r=recipe.rank, lora_alpha=recipe.rank, init_lora_weights="gaussian", target_modules=TARGETS)
        )
        self._parameters = [one for one in unet.parameters() if one.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=recipe.rate, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        )
        self._pixels, self._captions = _images(folder, sides)
        self._batches = self._epochs()

    def step(self, number: int) -> None:
        """One step of the optimizer."""
        for micro in next(self._batches):
            (self._loss(micro) / self.recipe.accumulated).backward()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()

    def delivered(self) -> AbstractContextManager[None]:
        """The adapter is delivered as it is trained."""
        return nullcontext()

    def _epochs(self) -> Iterator[list[list[int]]]:
        """The images of each step's micro-batches: a new order every epoch, leftovers make a smaller step."""
        batch, accumulated = self.recipe.batch, self.recipe.accumulated
        while True:
            order = torch.randperm(len(self._pixels)).tolist()
            micros = [order[first : first + batch] for first in range(0, len(order), batch)]
            yield from (micros[first : first + accumulated] for first in range(0, len(micros), accumulated))

    def _loss(self, chosen: list[int]) -> Tensor:
        pixels = torch.stack([self._flipped(self._pixels[index]) for index in chosen])
        distribution = self.session.encode_images(pixels)
        latents = distribution.mean + distribution.std * torch.randn_like(distribution.mean)
        noise = torch.randn_like(latents)
        signal = self.session.model.alphas_cumprod
        timesteps = torch.randint(len(signal), (len(chosen),))
        at = signal[timesteps].view(-1, 1, 1, 1)
        with torch.no_grad():
            conditioning = self.session.encode_text([self._captions[index] for index in chosen])
        prediction = self.session.predict(at.sqrt() * latents + (1 - at).sqrt() * noise, timesteps, conditioning)
        return nn.functional.mse_loss(prediction, noise)

    def _flipped(self, pixels: Tensor) -> Tensor:
        return pixels.flip(-1) if self.recipe.flip and torch.rand(()) < 0.5 else pixels


def _images(folder: Path, sides: tuple[int, int]) -> tuple[list[Tensor], list[str]]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    return [pixels_of(Image.open(folder / row["filename"]), sides) for row in rows], [row["prompt"] for row in rows]
