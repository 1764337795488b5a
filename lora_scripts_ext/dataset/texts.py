"""Captions -> text embeddings, from the cache or the text encoder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .. import finite
from ..config import Config
from ..contract import Conditioning, Session
from ..errors import UserError
from ..families.registry import by_name
from ..parallel import Check, Progress, ahead
from . import cache
from .cache import Cache
from .example import Example

_BATCH = 16
# A CPU gains little by more, and between two batches a run can be stopped.
_CPU_BATCH = 4

Variants = tuple[str, ...]
"""The texts of one caption, which share a cache file."""


@dataclass(frozen=True)
class Texts:
    """Embeddings of distinct texts, in memory.

    Attributes:
        row: row of a text.
        context: [texts, tokens, width] in the model's dtype.
        pooled: [texts, width]; None where the family has none.
    """

    row: dict[str, int]
    context: Tensor
    pooled: Tensor | None

    def of(self, captions: Sequence[str], device: torch.device) -> Conditioning:
        """Conditioning of ``captions``, new tensors on ``device``; no host synchronisation."""
        rows = [self.row[caption] for caption in captions]
        pooled = None if self.pooled is None else _stacked([self.pooled[row] for row in rows], device)
        return Conditioning(_stacked([self.context[row] for row in rows], device), pooled)


@dataclass(frozen=True)
class TextFiles:
    """Embeddings of distinct texts, each read from the cache when a batch needs it.

    Attributes:
        file_and_row: for a text, the file of its caption and its row there.
    """

    file_and_row: dict[str, tuple[Path, int]]
    names: tuple[str, ...]

    def of(self, captions: Sequence[str], device: torch.device) -> Conditioning:
        """As ``Texts.of``.

        Raises:
            UserError: a file has disappeared from the cache.
        """
        rows = [cache.load_row(*self.file_and_row[caption], self.names) for caption in captions]
        context, *pooled = (_stacked([row[name] for row in rows], device) for name in self.names)
        return Conditioning(context, pooled[0] if pooled else None)


def _stacked(rows: Sequence[Tensor], device: torch.device) -> Tensor:
    """Rows are sliced by host integers, so no index travels to the device; pinned rows are copied without waiting."""
    return torch.stack([row.to(device, non_blocking=True) for row in rows])


def bytes_of(captions: Sequence[Variants], text: Conditioning) -> int:
    """Bytes that the embeddings of all ``captions`` take; ``text`` is the conditioning of one, on any device."""
    one = text.context.nbytes + (0 if text.pooled is None else text.pooled.nbytes)
    return one * sum(map(len, captions))


def captions(examples: Sequence[Example], config: Config) -> list[Variants]:
    """Every caption that a visit may show, once, in the order of the examples; then those of the class that are held at
    the base model's output; last the empty one, for dropout."""
    held = [example.class_variants for example in examples if example.class_variants]
    empty: list[Variants] = [("",)] if config.caption_dropout > 0 else []
    return list(dict.fromkeys([example.variants for example in examples] + held + empty))


def gather(
    captions: Sequence[Variants],
    session: Session,
    config: Config,
    progress: Progress,
    check: Check,
    budget_bytes: int | None = None,
) -> Texts | TextFiles:
    """The embeddings of ``captions``, encoded in batches where the cache has none. Those that take more memory than
    ``budget_bytes`` (None: no limit) stay in the cache's files.

    As with images, a group of which only some is cached is encoded whole, for the same bits as in one go.

    Raises:
        UserError: the text encoder gives NaN (with the reason), or the cache cannot be written.
    """
    folder = Cache(config, session.model)
    names = ("context", "pooled") if by_name(session.model.family).has_pooled else ("context",)
    encoded = _Encoded(budget_bytes)
    with closing(ahead(lambda caption: cache.load(folder.of_caption(caption), names), captions)) as loaded:
        for caption, tensors in zip(captions, loaded, strict=True):
            check()
            if tensors is not None and _finite(tensors):
                encoded.add(caption, tensors)
    progress(len(encoded.done), len(captions), "captions")
    for group in _groups(captions, _batch_size(session)):
        check()
        if encoded.done.issuperset(group):
            continue
        for caption, tensors in zip(group, _encode(group, session, check), strict=True):
            if not _finite(tensors):
                raise UserError(finite.explain(session, f"The text encoder gives NaN for the caption {caption[0]!r}"))
            cache.save(folder.of_caption(caption), tensors)
            encoded.add(caption, tensors)
        progress(len(encoded.done), len(captions), "captions")
    if encoded.tensors is None:
        files = [(caption, folder.of_caption(caption)) for caption in captions]
        return TextFiles({text: (path, row) for caption, path in files for row, text in enumerate(caption)}, names)
    texts = [text for caption in captions for text in caption]
    tables = {name: _table([encoded.tensors[caption] for caption in captions], name) for name in names}
    return Texts({text: row for row, text in enumerate(texts)}, tables["context"], tables.get("pooled"))


class _Encoded:
    """Which captions are encoded.

    Attributes:
        tensors: by caption; None once they take more than the budget.
    """

    def __init__(self, budget_bytes: int | None) -> None:
        self.done: set[Variants] = set()
        self.tensors: dict[Variants, dict[str, Tensor]] | None = {}
        self._left = math.inf if budget_bytes is None else budget_bytes

    def add(self, caption: Variants, tensors: dict[str, Tensor]) -> None:
        """Note a caption with its tensors."""
        if self.tensors is not None and caption not in self.done:
            self._left -= sum(tensor.nbytes for tensor in tensors.values())
            self.tensors[caption] = tensors
            if self._left < 0:
                self.tensors = None
        self.done.add(caption)


def _table(held: Sequence[dict[str, Tensor]], name: str) -> Tensor:
    """The tensors of a name, one below the other; each is let go of as soon as it is copied."""
    first = held[0][name]
    table = first.new_empty(sum(len(tensors[name]) for tensors in held), *first.shape[1:])
    row = 0
    for tensors in held:
        part = tensors.pop(name)
        table[row : row + len(part)] = part
        row += len(part)
    return table


def _finite(tensors: dict[str, Tensor]) -> bool:
    return all(math.isfinite(finite.largest(tensor)) for tensor in tensors.values())


def _batch_size(session: Session) -> int:
    return _CPU_BATCH if session.model.device.type == "cpu" else _BATCH


def _groups(captions: Sequence[Variants], batch: int) -> Iterator[list[Variants]]:
    """Captions with a batch of texts together, or a little more."""
    group: list[Variants] = []
    for caption in captions:
        group.append(caption)
        if sum(map(len, group)) >= batch:
            yield group
            group = []
    if group:
        yield group


def _encode(group: Sequence[Variants], session: Session, check: Check) -> list[dict[str, Tensor]]:
    """The tensors of each caption: context [variants, tokens, width]; SDXL and Flux also pooled [variants, width].

    ``check`` is called before each batch.
    """
    texts = [text for caption in group for text in caption]
    encoded, batch = [], _batch_size(session)
    with torch.no_grad():
        for first in range(0, len(texts), batch):
            check()
            encoded.append(session.encode_text(texts[first : first + batch]))
    counts = [len(caption) for caption in group]
    tables = {"context": torch.cat([one.context.cpu() for one in encoded]).split(counts)}
    pooled = [one.pooled.cpu() for one in encoded if one.pooled is not None]
    if pooled:
        tables["pooled"] = torch.cat(pooled).split(counts)
    return [{name: parts[index].clone() for name, parts in tables.items()} for index in range(len(group))]
