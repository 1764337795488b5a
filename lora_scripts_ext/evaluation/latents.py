"""Images as latents [images, channels, height, width]: how far apart they are, which training image is nearest.

All figures are NaN where there are too few images to tell. Distances are root mean squares.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..contract import Session
from ..images.bucket import Size

_NAN = float("nan")


@torch.no_grad()
def encoded(session: Session, images: Sequence[Image.Image], size: Size) -> Tensor:
    """The latents of images resized to ``size`` (pixels), float32 on the CPU.

    One by one, for the VAE takes more memory than a step of training.
    """
    return torch.cat([session.encode_images(_pixels(image, size)[None]).mean.cpu() for image in images])


def _pixels(image: Image.Image, size: Size) -> Tensor:
    """Float32 [3, height, width] in [-1, 1]."""
    resized = np.array(image.convert("RGB").resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
    return torch.from_numpy(resized).permute(2, 0, 1) / 127.5 - 1


def distances(some: Tensor, others: Tensor) -> Tensor:
    """Of each to each, float32 [some, others]."""
    return torch.cdist(some.flatten(1).float(), others.flatten(1).float()) / some[0].numel() ** 0.5


def spread(images: Tensor) -> float:
    """Median distance of an image to the nearest other one."""
    if len(images) < 2:
        return _NAN
    table = distances(images, images)
    table.fill_diagonal_(float("inf"))
    return table.min(1).values.median().item()


def variety(images: Tensor) -> float:
    """Mean distance of two different images."""
    if len(images) < 2:
        return _NAN
    return torch.pdist(images.flatten(1).float()).mean().item() / images[0].numel() ** 0.5


def nearest(drawn: Tensor, training: Tensor) -> float:
    """Median distance of a drawn image to its nearest training image, in terms of the training set's spread: 1 is as
    near as the training images are to each other, 0 is a copy."""
    if not len(drawn) or len(training) < 2:
        return _NAN
    return distances(drawn, training).min(1).values.median().item() / spread(training)


def agreement(some: Tensor, others: Tensor) -> float:
    """Whether two series of images of the same prompts differ from prompt to prompt in the same way, whatever each has
    in common: the cosine of their differences from their own mean image, mean over the prompts. 1 is alike, 0 unlike.
    """
    if len(some) < 2:
        return _NAN
    one, other = (images - images.mean(0) for images in (some, others))
    return F.cosine_similarity(one.flatten(1), other.flatten(1)).mean().item()


def outlines(drawn: Tensor, base: Tensor) -> float:
    """How much the outlines of a series of images are those of the base model's own images of the same prompts from the
    same noise: their mean correlation, less that with its images of the other prompts. 0 is none at all.

    An outline is the length of the latents' gradient, averaged over 3 x 3 cells: unlike the latents themselves it
    hardly depends on colours and on what is behind an object.
    """
    if len(drawn) < 2:
        return _NAN
    table = F.normalize(_outlines(drawn)) @ F.normalize(_outlines(base)).T
    own = table.diagonal().mean()
    others = (table.sum() - table.diagonal().sum()) / (table.numel() - len(table))
    return (own - others).item()


def _outlines(images: Tensor) -> Tensor:
    """[images, cells], each less its mean."""
    images = images.float()
    down, across = (images[:, :, 1:, :-1] - images[:, :, :-1, :-1]), (images[:, :, :-1, 1:] - images[:, :, :-1, :-1])
    lengths = (down.square() + across.square()).sum(1, keepdim=True).sqrt()
    smooth = F.avg_pool2d(lengths, 3, stride=1, padding=1, count_include_pad=False).flatten(1)
    return smooth - smooth.mean(1, keepdim=True)


def leak(plain: Tensor, plain_base: Tensor, called: Tensor, called_base: Tensor) -> float:
    """How much the adapter changes what is drawn without its trigger word, as a share of what it changes with it."""
    if not len(plain) or not len(called):
        return _NAN
    changed, wanted = (plain - plain_base).square().mean().sqrt(), (called - called_base).square().mean().sqrt()
    return (changed / wanted).item()
