"""Which pictures a step looks at: a function of (seed, epoch), the same for every split over processes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..config import Config
from .bucket import Size
from .draw import generator
from .example import Example


class Visit(NamedTuple):
    """One look at a picture.

    Attributes:
        example: index into the examples.
        view: index into ``Example.views``.
        variant: index into ``Example.variants``, or None for the empty caption (dropout).
        position: index within the whole step, across its micro-batches and processes.
    """

    example: int
    view: int
    variant: int | None
    position: int


Micro = tuple[Visit, ...]
"""A micro-batch: visits of one bucket. A process takes ``micro[rank::world_size]``, which may be empty."""
Step = tuple[Micro, ...]
"""The micro-batches whose gradients are added before the optimizer steps."""


def epoch_steps(examples: Sequence[Example], config: Config, epoch: int, world_size: int) -> list[Step]:
    """The steps of an epoch: every training picture ``repeats`` times, and as many regularisation pictures.

    A micro-batch holds up to ``batch_size * world_size`` visits of one bucket, a step up to
    ``gradient_accumulation_steps`` micro-batches; what is left over makes smaller ones, nothing is dropped.
    """
    shown = _shown(examples, epoch)
    draw = generator(config.seed, "plan", epoch)
    # Drawn in the order of the examples, before any shuffling: batch size and processes do not change them.
    views, variants, dropped = draw.random(len(shown)), draw.random(len(shown)), draw.random(len(shown))

    def visit(place: int, position: int) -> Visit:
        example = shown[place]
        kept = dropped[place] >= config.caption_dropout
        return Visit(
            example,
            int(views[place] * len(examples[example].views)),
            int(variants[place] * len(examples[example].variants)) if kept else None,
            position,
        )

    steps = []
    micros = _micros(examples, shown, config.batch_size * world_size, draw)
    for first in range(0, len(micros), config.gradient_accumulation_steps):
        group = micros[first : first + config.gradient_accumulation_steps]
        starts = np.cumsum([0, *map(len, group)]).tolist()
        steps.append(
            tuple(
                tuple(visit(place, start + offset) for offset, place in enumerate(micro))
                for start, micro in zip(starts, group, strict=False)
            )
        )
    return steps


def steps_per_epoch(examples: Sequence[Example], config: Config, world_size: int) -> int:
    """Number of steps, the same for every epoch."""
    counts = Counter(examples[index].bucket for index in _shown(examples, 0))
    micros = sum(math.ceil(count / (config.batch_size * world_size)) for count in counts.values())
    return math.ceil(micros / config.gradient_accumulation_steps)


def _micros(examples: Sequence[Example], shown: Sequence[int], most: int, draw: np.random.Generator) -> list[list[int]]:
    """Places in ``shown``, shuffled, in groups of up to ``most`` that share a bucket."""
    places: dict[Size, list[int]] = {}
    for place in draw.permutation(len(shown)).tolist():
        places.setdefault(examples[shown[place]].bucket, []).append(place)
    micros = [
        members[first : first + most] for _, members in sorted(places.items()) for first in range(0, len(members), most)
    ]
    return [micros[index] for index in draw.permutation(len(micros))]


def _shown(examples: Sequence[Example], epoch: int) -> list[int]:
    """Index of the example of every visit of an epoch, in the order of the examples."""
    training, prior = (
        [
            index
            for index, example in enumerate(examples)
            if example.regularisation is wanted
            for _ in range(example.repeats)
        ]
        for wanted in (False, True)
    )
    return training + (_cycled(examples, prior, len(training), epoch) if prior else [])


def _cycled(examples: Sequence[Example], prior: Sequence[int], count: int, epoch: int) -> list[int]:
    """``count`` regularisation visits.

    Spread evenly over ``prior`` they give each bucket a share that is the same in every epoch; within a bucket the
    epochs go on where the last one stopped, so that all its pictures get their turn.
    """
    shares = Counter(examples[prior[place * len(prior) // count]].bucket for place in range(count))
    chosen = []
    for size, share in sorted(shares.items()):
        members = [index for index in prior if examples[index].bucket == size]
        chosen += [members[(epoch * share + place) % len(members)] for place in range(share)]
    return chosen
