"""LoRAs that act each in its own part of the image, and nowhere else.

Layers that compute every cell by itself, or from its neighbours, get each LoRA's change times its region's mask.
Cross-attention is computed once for each region, with the region's own text and LoRAs, and its outputs are blended by
the masks (the idea is that of sd-scripts' regional LoRA and of FreeFuse, arXiv 2510.23515). What acts on all cells
alike - the embedding of time, and SDXL's of the pooled text - is projected once for each region, too, and added where
the region is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contract import Conditioning
from ..errors import UserError
from ..models import text_inputs
from ..models.layer import overriding
from ..models.text_inputs import ResidualBlock
from .adapter import Adapter

Change = Callable[[Tensor], Tensor]


class Regional:
    """LoRAs on a UNet, each with a region of the image."""

    def __init__(self, unet: nn.Module, adapters: Sequence[Sequence[Adapter]], masks: Tensor) -> None:
        """Nothing changes before :meth:`attached`.

        Args:
            unet: whose targets the adapters have.
            adapters: of each region, not attached.
            masks: float32 [regions, height, width], a number for each latent cell; the regions' add up to 1.
        """
        self._unet = unet
        self._masks = masks
        self._resized: dict[tuple[int, int], Tensor] = {}
        self._changes = _by_module(adapters)
        self._inside: int | None = None
        # SDXL: what a region's pooled text is apart from the mean of all, [regions][batch, width].
        self._apart: list[Tensor] = []

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Within this context the UNet takes conditionings of :func:`side_by_side`; afterwards it is as before."""
        pooled = text_inputs.pooled_embedding(self._unet)
        with ExitStack() as stack:
            for module, changes in self._changes.items():
                stack.enter_context(overriding(module, self._layer_forward(module, changes)))
            for attention in text_inputs.cross_attentions(self._unet):
                stack.enter_context(overriding(attention, self._attention_forward(attention)))
            if pooled is not None:
                stack.enter_context(overriding(pooled, self._pooled_forward(pooled)))
            for residual in text_inputs.residual_blocks(self._unet):
                if pooled is not None or any(module in self._changes for module in residual.block.modules()):
                    self._override_block(stack, residual)
            yield

    def _layer_forward(self, module: nn.Module, changes: Sequence[Sequence[Change]]) -> Callable[[Tensor], Tensor]:
        original = module.forward

        def forward(x: Tensor) -> Tensor:
            output: Tensor = original(x)
            if self._inside is not None:
                return _added(output, x, changes[self._inside])
            if output.dim() == 2:
                # The embedding of time: its block adds the regions' changes.
                return output
            for mask, own in zip(self._masks_like(output), changes, strict=True):
                output = _added(output, x, own, mask)
            return output

        return forward

    def _attention_forward(self, attention: nn.Module) -> Callable[..., Tensor]:
        original = attention.forward

        def forward(x: Tensor, *others: Any, **options: Any) -> Tensor:
            texts = {key: options[key].chunk(len(self._masks), dim=1) for key in text_inputs.texts(options)}
            outputs = []
            for region in range(len(self._masks)):
                own = {key: parts[region] for key, parts in texts.items()}
                with self._only(region):
                    outputs.append(original(x, *others, **{**options, **own}))
            return _blended(outputs, self._masks_like(outputs[0]))

        return forward

    def _pooled_forward(self, embedding: nn.Module) -> Callable[[Tensor], Tensor]:
        original, width = embedding.forward, text_inputs.width(embedding)

        def forward(vectors: Tensor) -> Tensor:
            embedded = [original(vector) for vector in _apart(vectors, len(self._masks), width)]
            mean = torch.stack(embedded).mean(0)
            self._apart = [one - mean for one in embedded]
            return mean

        return forward

    def _override_block(self, stack: ExitStack, residual: ResidualBlock) -> None:
        """The block computes with the mean of the regions; what each is apart from that is added before its norm."""
        original, normed = residual.block.forward, residual.norm.forward
        shifts: list[Tensor] = []

        def forward(x: Tensor, embedding: Tensor, *others: Any, **options: Any) -> Tensor:
            shifts[:] = self._shifts(residual, embedding)
            return original(x, embedding, *others, **options)

        def norm_forward(x: Tensor) -> Tensor:
            for shift, mask in zip(shifts, self._masks_like(x), strict=True):
                x = x + shift[:, :, None, None] * mask
            return normed(x)

        stack.enter_context(overriding(residual.block, forward))
        stack.enter_context(overriding(residual.norm, norm_forward))

    def _shifts(self, residual: ResidualBlock, embedding: Tensor) -> list[Tensor]:
        mean = residual.projected(embedding)
        shifts = []
        for region in range(len(self._masks)):
            own = embedding + self._apart[region] if self._apart else embedding
            with self._only(region):
                shifts.append(residual.projected(own) - mean)
        return shifts

    @contextmanager
    def _only(self, region: int) -> Iterator[None]:
        """Layers are computed with this region's LoRAs alone, on all cells."""
        self._inside = region
        try:
            yield
        finally:
            self._inside = None

    def _masks_like(self, output: Tensor) -> Tensor:
        """A mask for each region that multiplies ``output``, [batch, channels, height, width] or [batch, cells, width].

        [regions, 1, 1, height, width] or [regions, 1, cells, 1].
        """
        sides = (output.shape[2], output.shape[3]) if output.dim() == 4 else self._sides(output.shape[1])
        masks = self._resized.get(sides)
        if masks is None:
            masks = F.adaptive_avg_pool2d(self._masks[:, None].to(output.device), sides)
            self._resized[sides] = masks
        masks = masks.to(output.dtype)
        return masks[:, None] if output.dim() == 4 else masks.flatten(2).transpose(1, 2)[:, None]

    def _sides(self, cells: int) -> tuple[int, int]:
        """Height and width of a level of the UNet: each is half the one before, rounded up."""
        height, width = self._masks.shape[1:]
        while height * width > cells:
            height, width = (height + 1) // 2, (width + 1) // 2
        if height * width != cells:
            raise UserError(
                f"A layer was given {cells} cells, which are not the image's, so no region can be found among them; "
                "switch off what merges tokens or draws in tiles (token merging, Hypertile)."
            )
        return height, width


def side_by_side(conditionings: Sequence[Conditioning]) -> Conditioning:
    """The regions' texts in one: contexts [batch, regions · tokens, width], pooled [batch, regions · width].

    Their sizes are the first's.
    """
    first = conditionings[0]
    pooled = [one.pooled for one in conditionings if one.pooled is not None]
    return Conditioning(
        torch.cat([one.context for one in conditionings], dim=1),
        torch.cat(pooled, dim=1) if pooled else None,
        first.time_ids,
    )


def _apart(vectors: Tensor, regions: int, width: int) -> list[Tensor]:
    """[batch, regions · pooled (+ sizes)] -> for each region [batch, width]: its own, and the sizes that all share."""
    pooled = (vectors.shape[1] - width) // max(1, regions - 1) if regions > 1 else width
    owns, sizes = vectors[:, : regions * pooled], vectors[:, regions * pooled :]
    return [torch.cat([own, sizes], dim=1) for own in owns.chunk(regions, dim=1)]


def _by_module(adapters: Sequence[Sequence[Adapter]]) -> dict[nn.Module, list[list[Change]]]:
    """For each module that a LoRA changes the changes of every region."""
    found: dict[nn.Module, list[list[Change]]] = {}
    for region, own in enumerate(adapters):
        for adapter in own:
            for target, change in adapter.changes():
                if target.part == "unet":
                    found.setdefault(target.module, [[] for _ in adapters])[region].append(change)
    return found


def _added(output: Tensor, x: Tensor, changes: Sequence[Change], mask: Tensor | None = None) -> Tensor:
    for change in changes:
        changed = change(x).to(output.dtype)
        output = output + (changed if mask is None else changed * mask)
    return output


def _blended(outputs: Sequence[Tensor], masks: Tensor) -> Tensor:
    blended = outputs[0] * masks[0]
    for output, mask in zip(outputs[1:], masks[1:], strict=True):
        blended = blended + output * mask
    return blended
