"""Images -> the latent distributions of all their views, from the cache or the VAE."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .. import finite, memory
from ..config import Config
from ..contract import Session
from ..errors import UserError
from ..images import decode
from ..images.edit import UNEDITED
from ..images.skipped import Skipped
from ..parallel import Check, Progress, ahead
from . import cache
from .cache import Cache
from .example import Example

_BATCH_PIXELS = 2 * 1024 * 1024  # two images of 1024x1024, eight of 512x512
# A CPU gains nothing by more, and between two batches a run can be stopped.
_CPU_BATCH_PIXELS = 512 * 512
_MOST_VIEWS = 16


@dataclass(frozen=True)
class Latents:
    """All views of one image, on CPU.

    Attributes:
        mean: float32 [views, channels, height, width], scaled as the UNet takes them; so is ``std``.
        mask: float32 [views, 1, height, width] in 0 to 1, or None where masks are off.
        content: hash of the image and mask files, and of how they are edited.
    """

    mean: Tensor
    std: Tensor
    mask: Tensor | None
    content: str


@dataclass(frozen=True)
class _Pixels:
    """A decoded image that waits for the VAE: uint8 [views, 3, height, width], and where its latents go."""

    pixels: Tensor
    mask: Tensor | None
    content: str
    path: Path


def gather(
    examples: Sequence[Example], session: Session, config: Config, progress: Progress, check: Check
) -> list[Latents | Skipped]:
    """The latents of every example, in order; images that turn out damaged are skipped with the reason.

    Raises:
        UserError: the VAE gives NaN (with the reason), or the cache cannot be written.
    """
    reader = _Reader(session, config)
    ordered = sorted(examples, key=lambda example: example.bucket)
    done: dict[Example, Latents | Skipped] = {}
    with closing(ahead(reader.read, ordered)) as read_ahead:
        for group in _groups(ordered, session.model.device):
            read: list[Latents | _Pixels | Skipped] = []
            for _ in group:
                check()
                read.append(next(read_ahead))
            done.update(_latents(group, read, reader, session, check))
            progress(len(done), len(ordered), "pictures")
    return [done[example] for example in examples]


def _latents(
    group: Sequence[Example],
    read: Sequence[Latents | _Pixels | Skipped],
    reader: _Reader,
    session: Session,
    check: Check,
) -> Iterable[tuple[Example, Latents | Skipped]]:
    """What was read of a group, its pixels encoded."""
    cached = [one for one in read if not isinstance(one, _Pixels)]
    if len(cached) == len(group):
        return zip(group, cached, strict=True)
    return _encode([_again(*pair, reader) for pair in zip(group, read, strict=True)], group, session, check)


def _groups(ordered: Sequence[Example], device: torch.device) -> Iterator[list[Example]]:
    """What is encoded together: a batch of views, or a little more, of one bucket."""
    group: list[Example] = []
    for example in ordered:
        if group and (example.bucket != group[0].bucket or _views(group) >= _batch_size(example, device)):
            yield group
            group = []
        group.append(example)
    if group:
        yield group


def _views(group: Sequence[Example]) -> int:
    return sum(len(example.views) for example in group)


class _Reader:
    """Reads an image in a worker thread: its cached latents, else its pixels."""

    def __init__(self, session: Session, config: Config) -> None:
        self._cache = Cache(config, session.model)
        self._factor = session.model.vae_factor
        self._masked = config.masked_loss

    def read(self, example: Example) -> Latents | _Pixels | Skipped:
        """The latents if they are cached, else the pixels."""
        files = self._files(example)
        if isinstance(files, Skipped):
            return files
        content = _hash(example, *files)
        names = ("mean", "std") if self._masked == "none" else ("mean", "std", "mask")
        tensors = cache.load(self._cache.of_image(example, content), names)
        if tensors is not None:
            return Latents(tensors["mean"], tensors["std"], tensors.get("mask"), content)
        return self._pixels(example, *files)

    def pixels(self, example: Example) -> _Pixels | Skipped:
        """The pixels, also where the latents are cached."""
        files = self._files(example)
        return files if isinstance(files, Skipped) else self._pixels(example, *files)

    def _files(self, example: Example) -> tuple[bytes, bytes | None] | Skipped:
        """The bytes of the image file and of its mask file."""
        try:
            return example.path.read_bytes(), example.mask.read_bytes() if example.mask else None
        except OSError as error:
            return Skipped(example.name, f"cannot be read ({error.strerror})")

    def _pixels(self, example: Example, image: bytes, mask: bytes | None) -> _Pixels | Skipped:
        decoded = self._decoded(example, image, mask)
        if isinstance(decoded, Skipped):
            return decoded
        content = _hash(example, image, mask)
        return _Pixels(*decoded, content, self._cache.of_image(example, content))

    def _decoded(self, example: Example, content: bytes, mask: bytes | None) -> tuple[Tensor, Tensor | None] | Skipped:
        """Pixels and mask cells of all views."""
        try:
            decoded = decode.decode(content, example.edit)
        except decode.Unreadable as error:
            return Skipped(example.name, str(error))
        if decoded.pixels.size != (example.width, example.height):
            return Skipped(example.name, "has changed since it was first read; start again")
        try:
            separate_mask = decode.decode_mask(mask, example.edit) if mask is not None else None
        except decode.Unreadable as error:
            return Skipped(example.name, f"has a mask, {example.mask}, that {error}")
        cells = None
        if self._masked != "none":
            cells = self._mask(example, decoded.alpha if self._masked == "alpha" else separate_mask)
        return _pixels(example, decoded.pixels), cells

    def _mask(self, example: Example, mask: Image.Image | None) -> Tensor:
        """Float32 [views, 1, height, width]: the share of each latent cell that counts; all of it without a mask."""
        width, height = example.bucket
        rows, columns = height // self._factor, width // self._factor
        if mask is None:
            return torch.ones(len(example.views), 1, rows, columns)
        crops = np.stack(_crops(example, mask, Image.Resampling.BILINEAR)).astype(np.float32) / 255
        cells = crops.reshape(len(example.views), 1, rows, self._factor, columns, self._factor).mean((3, 5))
        return torch.from_numpy(cells)


def _hash(example: Example, content: bytes, mask: bytes | None) -> str:
    """SHA-256 of an image file's bytes, with that of its mask file's where it has one, and its edit where it has one.

    Of an image that is not edited it stays what it always was, so that latents cached by earlier versions are used.
    """
    parts = [hashlib.sha256(part).hexdigest() for part in (content, mask) if part is not None]
    return ":".join([*parts, *([f"edit={example.edit.key()}"] if example.edit != UNEDITED else [])])


def _pixels(example: Example, image: Image.Image) -> Tensor:
    """Uint8 [views, 3, height, width]."""
    crops = np.stack(_crops(example, image, Image.Resampling.LANCZOS))
    return torch.from_numpy(crops.transpose(0, 3, 1, 2).copy())


def _crops(example: Example, image: Image.Image, resample: Image.Resampling) -> list[NDArray[np.uint8]]:
    return [decode.crop(image, example.resized, example.bucket, view, resample) for view in example.views]


def _batch_size(example: Example, device: torch.device) -> int:
    width, height = example.bucket
    pixels = _CPU_BATCH_PIXELS if device.type == "cpu" else _BATCH_PIXELS
    return max(1, min(_MOST_VIEWS, pixels // (width * height)))


def _again(example: Example, read: Latents | _Pixels | Skipped, reader: _Reader) -> _Pixels | Skipped:
    """The pixels, also of what is cached.

    The last bits of what a VAE gives depend on the size of the batch. So a group is encoded whole even if some of it
    is cached: a run killed while it encodes and started again makes the very same latents.
    """
    return reader.pixels(example) if isinstance(read, Latents) else read


def _encode(
    items: Sequence[_Pixels | Skipped], group: Sequence[Example], session: Session, check: Check
) -> Iterator[tuple[Example, Latents | Skipped]]:
    """Encode the images of a group (at least one) together and cache each; ``check`` is called before each batch."""
    waiting = [one for one in items if isinstance(one, _Pixels)]
    means, stds = [], []
    with torch.no_grad():
        for batch in torch.cat([one.pixels for one in waiting]).split(_batch_size(group[0], session.model.device)):
            check()
            for mean, std in _encoded(batch, session):
                means.append(mean)
                stds.append(std)
    counts = [len(one.pixels) for one in waiting]
    rows = zip(torch.cat(means).split(counts), torch.cat(stds).split(counts), strict=True)
    for example, one in zip(group, items, strict=True):
        yield example, one if isinstance(one, Skipped) else _cached(example, one, *next(rows), session)


def _encoded(pixels: Tensor, session: Session) -> list[tuple[Tensor, Tensor]]:
    """Mean and std of a batch, on CPU; in two parts where the device has no memory for the whole, and so on."""
    try:
        latents = session.encode_images(pixels.to(session.model.device).float() / 127.5 - 1)
        return [(latents.mean.float().cpu(), latents.std.float().cpu())]
    except memory.ERRORS as error:
        if not memory.ran_out(error) or len(pixels) == 1:
            raise
    # Outside of the handler, whose traceback holds on to what was computed.
    memory.release(session.model.device)
    return [part for half in pixels.chunk(2) for part in _encoded(half, session)]


def _cached(example: Example, one: _Pixels, mean: Tensor, std: Tensor, session: Session) -> Latents:
    mean, std = mean.clone(), std.clone()  # a file of its own for each, not the whole batch's memory
    if not (mean.isfinite().all() and std.isfinite().all()):
        # Every host computes its VAE in float32.
        what = f"{example.name}: the VAE of the base model gives NaN for this image"
        raise UserError(finite.explain(session, what, torch.float32))
    tensors = {"mean": mean, "std": std}
    cache.save(one.path, tensors if one.mask is None else {**tensors, "mask": one.mask})
    return Latents(mean, std, one.mask, one.content)
