"""The whole cached set, on the device where it fits, and the batches drawn from it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import torch
from torch import Tensor

from ..config import Config
from ..contract import Conditioning, Session
from ..errors import UserError
from ..families.registry import by_name
from ..images import bucket
from ..images.bucket import Size
from ..images.skipped import Skipped
from ..parallel import Check, Progress
from . import cache, latents, texts
from .example import Example
from .latents import Latents
from .plan import Visit
from .source import Dataset
from .texts import TextFiles, Texts


@dataclass(frozen=True)
class Batch:
    """What a micro-batch of one bucket trains on.

    Attributes:
        mean: float32 [batch, channels, height, width], as is ``std``: the latents' distribution.
        mask: float32 [batch, 1, height, width] in 0 to 1, or None where masks are off.
        weight: float32 [batch], of each example's loss in the step's.
        time_ids: float32 [batch, 6] in pixels, SDXL only.
        conditioning: with ``time_ids``; None when the text encoder is trained and ``captions`` must be encoded again.
        captions: the texts shown.
        class_conditioning: as ``conditioning``, of ``class_captions``.
        class_captions: the texts held at the base model's output; empty where none are.
    """

    mean: Tensor
    std: Tensor
    mask: Tensor | None
    weight: Tensor
    time_ids: Tensor | None
    conditioning: Conditioning | None
    captions: list[str]
    class_conditioning: Conditioning | None
    class_captions: list[str]


@dataclass(frozen=True)
class _Table:
    """All views of all images of one bucket, a row each."""

    mean: Tensor
    std: Tensor
    mask: Tensor | None
    time_ids: Tensor | None


class Store:
    """Cached latents and text embeddings, ready for batches.

    Attributes:
        examples: the examples left after decoding; ``Visit.example`` is an index into them.
        skipped: those of the dataset, then the images that turned out damaged.
        contents: a hash of the content of each example's image and mask, as ``latents.Latents.content``.
        content_hash: SHA-256 (hex) of the images, masks, captions and repeats: the same for the same training set,
            wherever it lies and whatever encoded it.
    """

    def __init__(
        self,
        examples: tuple[Example, ...],
        skipped: list[Skipped],
        contents: tuple[str, ...],
        tables: dict[Size, _Table],
        first_rows: list[int],
        texts: Texts | TextFiles | None,
    ) -> None:
        self.examples = examples
        self.skipped = skipped
        self.contents = contents
        self.content_hash = _content_hash(examples, contents)
        self._tables = tables
        self._first_rows = first_rows
        self._texts = texts

    @classmethod
    def build(
        cls,
        dataset: Dataset,
        session: Session,
        config: Config,
        *,
        progress: Progress,
        check: Check,
        budget_bytes: int,
        text_budget_bytes: int | None = None,
    ) -> Store:
        """Fill the caches and load them: on the device if they take at most ``budget_bytes``, else in (pinned) memory.

        Args:
            dataset: as ``source.read`` gives it.
            session: encodes what the cache lacks.
            config: the run.
            progress: called with done, total and "pictures" or "captions".
            check: called between images; what it raises ends the build, the caches filled so far stay.
            budget_bytes: device memory that the dataset may take.
            text_budget_bytes: memory that text embeddings may take; more of them are read from the cache for each
                batch. None: no limit.

        Raises:
            UserError: no training image could be decoded, the VAE gives NaN, the cache cannot be written.
        """
        cache.sweep(config)
        gathered = latents.gather(dataset.examples, session, config, progress, check)
        results = [_unless_black(example, one, config) for example, one in zip(dataset.examples, gathered, strict=True)]
        _check_usable(dataset.examples, results, config)
        examples = tuple(
            example for example, one in zip(dataset.examples, results, strict=True) if isinstance(one, Latents)
        )
        embeddings = None
        if not config.train_text_encoder:
            captions = texts.captions(examples, config)
            embeddings = texts.gather(captions, session, config, progress, check, text_budget_bytes)
        held = [embeddings] if isinstance(embeddings, Texts) else []
        encoded = [one for one in results if isinstance(one, Latents)]
        tables, first_rows = _tables(examples, encoded, session)
        move = _mover([*tables.values(), *held], session.model.device, budget_bytes)
        return cls(
            examples,
            [*dataset.skipped, *(one for one in results if isinstance(one, Skipped))],
            tuple(one.content for one in encoded),
            {size: _moved(table, move) for size, table in tables.items()},
            first_rows,
            _texts_moved(embeddings, move) if isinstance(embeddings, Texts) else embeddings,
        )

    def only(self, indices: Sequence[int]) -> Store:
        """The examples with these indices, in that order; what is cached is shared."""
        return Store(
            tuple(self.examples[index] for index in indices),
            self.skipped,
            tuple(self.contents[index] for index in indices),
            self._tables,
            [self._first_rows[index] for index in indices],
            self._texts,
        )

    def latents(self, index: int) -> Tensor:
        """The mean of an example's latents, float32 [channels, height, width], of its first view."""
        return self._tables[self.examples[index].bucket].mean[self._first_rows[index]]

    def batch(self, visits: Sequence[Visit], device: torch.device) -> Batch:
        """The batch of at least one visit, all of one bucket; new tensors on ``device``, no host synchronisation."""
        table = self._tables[self.examples[visits[0].example].bucket]
        rows = [self._first_rows[visit.example] + visit.view for visit in visits]
        captions = [
            "" if visit.variant is None else self.examples[visit.example].variants[visit.variant] for visit in visits
        ]
        class_captions = [
            self.examples[visit.example].class_variants[visit.variant or 0]
            for visit in visits
            if self.examples[visit.example].class_variants
        ]
        stacked = partial(_stacked, rows=rows, device=device)
        time_ids = _if_any(stacked, table.time_ids)
        return Batch(
            mean=stacked(table.mean),
            std=stacked(table.std),
            mask=_if_any(stacked, table.mask),
            weight=torch.tensor([visit.weight for visit in visits]).to(device, non_blocking=True),
            time_ids=time_ids,
            conditioning=self._conditioning(captions, time_ids, device),
            captions=captions,
            class_conditioning=self._conditioning(class_captions, time_ids, device),
            class_captions=class_captions,
        )

    def _conditioning(
        self, captions: Sequence[str], time_ids: Tensor | None, device: torch.device
    ) -> Conditioning | None:
        """None where the texts are not held here, or there are none."""
        if self._texts is None or not captions:
            return None
        return replace(self._texts.of(captions, device), time_ids=time_ids)


def _unless_black(example: Example, item: Latents | Skipped, config: Config) -> Latents | Skipped:
    """Skip an image that would train nothing: its mask is black everywhere, and that has no weight."""
    if isinstance(item, Skipped) or item.mask is None or config.unmasked_weight > 0 or item.mask.any():
        return item
    return Skipped(
        example.name, "has a mask that is black everywhere; correct it, or set unmasked_weight above 0 to learn from it"
    )


def _check_usable(examples: Sequence[Example], results: Sequence[Latents | Skipped], config: Config) -> None:
    for key, prior in (("train_data_dir", False), ("reg_data_dir", True)):
        own = [one for example, one in zip(examples, results, strict=True) if example.regularisation is prior]
        damaged = [one for one in own if isinstance(one, Skipped)]
        if damaged and len(damaged) == len(own):
            raise UserError(
                f"{key}: no image in {getattr(config, key)} can be used; for example {damaged[0].name} "
                f"{damaged[0].reason}."
            )


def _content_hash(examples: Sequence[Example], contents: Sequence[str]) -> str:
    known = [
        [content, example.variants, example.repeats, example.regularisation]
        for example, content in zip(examples, contents, strict=True)
    ]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def _tables(
    examples: Sequence[Example], encoded: Sequence[Latents], session: Session
) -> tuple[dict[Size, _Table], list[int]]:
    """The latents of each bucket in one table, on CPU, and the row of each example's first view."""
    members: dict[Size, list[int]] = {}
    first_rows, lengths = [], Counter[Size]()
    for index, example in enumerate(examples):
        members.setdefault(example.bucket, []).append(index)
        first_rows.append(lengths[example.bucket])
        lengths[example.bucket] += len(example.views)
    has_time_ids = by_name(session.model.family).has_time_ids
    tables = {}
    for size, indices in members.items():
        chosen = [encoded[index] for index in indices]
        masks = [one.mask for one in chosen if one.mask is not None]
        tables[size] = _Table(
            mean=torch.cat([one.mean for one in chosen]),
            std=torch.cat([one.std for one in chosen]),
            mask=torch.cat(masks) if masks else None,
            time_ids=_time_ids([examples[index] for index in indices]) if has_time_ids else None,
        )
    return tables, first_rows


def _time_ids(examples: Iterable[Example]) -> Tensor:
    """Float32 [views of all examples, 6]."""
    return torch.tensor(
        [
            bucket.time_ids((example.width, example.height), example.resized, example.bucket, view)
            for example in examples
            for view in example.views
        ],
        dtype=torch.float32,
    )


def _mover(held: Iterable[_Table | Texts], device: torch.device, budget_bytes: int) -> Callable[[Tensor], Tensor]:
    """What moves a tensor to where the dataset belongs: on the device, or in memory it can fetch from by itself."""
    total = sum(tensor.nbytes for one in held for tensor in _tensors(one))
    if total <= budget_bytes:
        return lambda tensor: tensor.to(device)
    if device.type == "cuda":
        return lambda tensor: tensor.pin_memory()
    return lambda tensor: tensor


def _moved(table: _Table, move: Callable[[Tensor], Tensor]) -> _Table:
    return _Table(move(table.mean), move(table.std), _if_any(move, table.mask), _if_any(move, table.time_ids))


def _texts_moved(texts: Texts, move: Callable[[Tensor], Tensor]) -> Texts:
    return replace(texts, context=move(texts.context), pooled=_if_any(move, texts.pooled))


def _if_any(function: Callable[[Tensor], Tensor], tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else function(tensor)


def _tensors(held: _Table | Texts) -> list[Tensor]:
    values = (getattr(held, field.name) for field in fields(held))
    return [value for value in values if isinstance(value, Tensor)]


def _stacked(tensor: Tensor, rows: Sequence[int], device: torch.device) -> Tensor:
    """The rows, stacked on ``device``.

    Rows are sliced by host integers, so no index travels to the device; pinned rows are copied without waiting.
    """
    return torch.stack([tensor[row].to(device, non_blocking=True) for row in rows])
