"""Captions -> text embeddings, from the cache or the text encoder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import finite
from ..config import Config
from ..contract import Session
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
    """Embeddings of distinct texts.

    Attributes:
        row: row of a text.
        context: [texts, tokens, width] in the model's dtype.
        pooled: [texts, width], SDXL and Flux only.
    """

    row: dict[str, int]
    context: Tensor
    pooled: Tensor | None


def captions(examples: Sequence[Example], config: Config) -> list[Variants]:
    """Every caption that a visit may show, once, in the order of the examples; last the empty one, for dropout."""
    empty = [("",)] if config.caption_dropout > 0 else []
    return list(dict.fromkeys([example.variants for example in examples] + empty))


def gather(variants: Sequence[Variants], session: Session, config: Config, progress: Progress, check: Check) -> Texts:
    """The embeddings of ``wanted``, encoded in batches where the cache has none.

    As with images, a group of which only some is cached is encoded whole, for the same bits as in one go.

    Raises:
        UserError: the text encoder gives NaN (with the reason), or the cache cannot be written.
    """
    files = Cache(config, session.model)
    names = ("context", "pooled") if by_name(session.model.family).has_pooled else ("context",)
    embeddings: dict[Variants, dict[str, Tensor]] = {}
    with closing(ahead(lambda caption: cache.load(files.of_caption(caption), names), variants)) as loaded:
        for caption, tensors in zip(variants, loaded, strict=True):
            check()
            if tensors is not None and _finite(tensors):
                embeddings[caption] = tensors
    progress(len(embeddings), len(variants), "captions")
    for group in _groups(variants, _batch_size(session)):
        check()
        if all(caption in embeddings for caption in group):
            continue
        for caption, tensors in zip(group, _encode(group, session, check), strict=True):
            if not _finite(tensors):
                raise UserError(finite.explain(session, f"The text encoder gives NaN for the caption {caption[0]!r}"))
            cache.save(files.of_caption(caption), tensors)
            embeddings[caption] = tensors
        progress(len(embeddings), len(variants), "captions")
    texts = [text for caption in variants for text in caption]
    tables = {name: torch.cat([embeddings[caption][name] for caption in variants]) for name in names}
    return Texts({text: row for row, text in enumerate(texts)}, tables["context"], tables.get("pooled"))


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
    if encoded[0].pooled is not None:
        tables["pooled"] = torch.cat([one.pooled.cpu() for one in encoded]).split(counts)
    return [{name: parts[index].clone() for name, parts in tables.items()} for index in range(len(group))]
