"""What the measures look at: some captions with their images, and prompts of things that were not trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import Config
from ..contract import Conditioning, Session
from ..dataset.plan import Visit
from ..dataset.store import Store
from ..images.bucket import Size
from ..random_streams import generator

CAPTIONS = 8
# Of a larger set as many images say how far apart its images are.
_IMAGES = 256
_PLAIN = 4


@dataclass(frozen=True)
class Subjects:
    """Some of a training set and of the held-out images, all in one bucket.

    Attributes:
        captions: of at most eight different training images.
        own: for each caption, the row of its image in ``latents``.
        latents: float32 [images, channels, height, width] on the CPU, of the bucket's images, 256 at most.
        unseen: captions of at most eight held-out images; may be empty.
        unseen_latents: float32 [unseen, channels, height, width], of these images.
        plain: the captions without the run's trigger word; empty where it has none.
        time_ids: float32 [1, 6] of the first image, SDXL only.
    """

    captions: tuple[str, ...]
    own: tuple[int, ...]
    latents: Tensor
    unseen: tuple[str, ...]
    unseen_latents: Tensor
    plain: tuple[str, ...]
    time_ids: Tensor | None

    def conditioning(self, session: Session, prompts: Sequence[str]) -> Conditioning:
        """What the denoiser takes beside latents, with the text encoders as they are now."""
        with torch.no_grad():
            encoded = session.encode_text(prompts)
        time_ids = None if self.time_ids is None else self.time_ids.expand(len(prompts), -1)
        return Conditioning(encoded.context, encoded.pooled, time_ids)


def subjects(config: Config, store: Store, held_out: Store | None) -> Subjects:
    """Chosen from the most frequent bucket of the training images, by the run's seed; the same in every call."""
    training = [index for index, one in enumerate(store.examples) if not one.regularisation]
    size = Counter(store.examples[index].bucket for index in training).most_common(1)[0][0]
    chosen = _shuffled(store, size, config.seed)[:_IMAGES]
    first = _by_caption(store, chosen)
    unseen = {} if held_out is None else _by_caption(held_out, _shuffled(held_out, size, config.seed))
    means = [_mean(store, index) for index in chosen]
    captions = list(first)[:CAPTIONS]
    others = list(unseen)[:CAPTIONS]
    return Subjects(
        captions=tuple(captions),
        own=tuple(chosen.index(first[caption]) for caption in captions),
        latents=torch.cat(means),
        unseen=tuple(others),
        unseen_latents=torch.cat([means[0][:0], *(_mean(held_out, unseen[one]) for one in others if held_out)]),
        plain=tuple(filter(None, (_without(config.trigger_word, caption) for caption in captions[:_PLAIN]))),
        time_ids=store.batch([Visit(chosen[0], 0, 0, 0)], torch.device("cpu")).time_ids,
    )


def _shuffled(store: Store, size: Size, seed: int) -> list[int]:
    """The examples of a bucket that are no regularisation images."""
    members = [index for index, one in enumerate(store.examples) if one.bucket == size and not one.regularisation]
    return [members[place] for place in generator(seed, "evaluation").permutation(len(members)).tolist()]


def _by_caption(store: Store, indices: Sequence[int]) -> dict[str, int]:
    """The first example of every caption that is not empty."""
    first: dict[str, int] = {}
    for index in indices:
        if store.examples[index].caption:
            first.setdefault(store.examples[index].caption, index)
    return first


def _mean(store: Store, index: int) -> Tensor:
    """Float32 [1, channels, height, width]."""
    return store.batch([Visit(index, 0, 0, 0)], torch.device("cpu")).mean


def _without(trigger_word: str, caption: str) -> str:
    """The caption without the trigger word it begins with; empty where it does not."""
    if not trigger_word or not caption.startswith(trigger_word):
        return ""
    return caption[len(trigger_word) :].lstrip(", ")
