"""Which images a step uses: a function of (seed, epoch, effective batch), however a step is split up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..config import Config
from ..images.bucket import Size
from ..random_streams import generator
from .example import Example


class Visit(NamedTuple):
    """One use of an image in a step.

    Attributes:
        example: index into the examples.
        view: index into ``Example.views``.
        variant: index into ``Example.variants``, or None for the empty caption (dropout).
        position: index within the whole step, whatever its micro-batches and processes.
        weight: of its loss in the step's; those of the training images add up to 1, those of the regularisation images
            to ``prior_loss_weight``.
    """

    example: int
    view: int
    variant: int | None
    position: int
    weight: float = 1.0


Micro = tuple[Visit, ...]
"""A micro-batch: visits of one bucket, which all processes compute together."""
Step = tuple[Micro, ...]
"""The micro-batches whose gradients are added before the optimizer steps."""


def effective_batch(config: Config, world_size: int) -> int:
    """The most training visits of one step.

    Runs that are alike in it see the same images in the same steps, whatever it is split into.
    """
    return config.batch_size * config.gradient_accumulation_steps * world_size


def steps_per_epoch(examples: Sequence[Example], config: Config, world_size: int) -> int:
    """Number of steps, the same for every epoch."""
    return -(-len(_training(examples)) // effective_batch(config, world_size))


def epoch_steps(examples: Sequence[Example], config: Config, epoch: int, world_size: int) -> list[Step]:
    """The steps of an epoch: every training image ``repeats`` times, and with each as many regularisation images.

    The training visits of two steps differ by at most one in number. A step that spans several buckets has a
    micro-batch, or more, for each; none has more than ``batch_size * world_size`` visits.
    """
    count = steps_per_epoch(examples, config, world_size)
    training = _training(examples)
    own = _parts(examples, training, config, "training", epoch, count)
    prior = _parts(examples, _prior(examples, config.seed, epoch, len(training)), config, "prior", epoch, count)
    order = generator(config.seed, "steps", epoch).permutation(count).tolist()
    most = config.batch_size * world_size
    return [
        _micros(examples, [*_weighed(own[index], 1.0), *_weighed(prior[index], config.prior_loss_weight)], most)
        for index in order
    ]


def share(step: Step, rank: int, world_size: int) -> Step:
    """What the process ``rank`` computes: every ``world_size``-th visit, at most ``batch_size`` of a micro-batch."""
    shares, assigned = [], 0
    for micro in step:
        shares.append(micro[(rank - assigned) % world_size :: world_size])
        assigned += len(micro)
    return tuple(part for part in shares if part)


def _parts(
    examples: Sequence[Example], chosen: Sequence[int], config: Config, kind: str, epoch: int, count: int
) -> list[list[Visit]]:
    """A visit for every index in ``shown``, in ``count`` parts as equal as can be, few of which span buckets."""
    draw = generator(config.seed, kind, epoch)
    # Drawn in the order of the examples, before any shuffling: the effective batch does not change them.
    views, variants, dropped = draw.random(len(chosen)), draw.random(len(chosen)), draw.random(len(chosen))
    buckets: dict[Size, list[Visit]] = {}
    for index in draw.permutation(len(chosen)).tolist():
        example = examples[chosen[index]]
        variant = int(variants[index] * len(example.variants)) if dropped[index] >= config.caption_dropout else None
        visit = Visit(chosen[index], int(views[index] * len(example.views)), variant, 0)
        buckets.setdefault(example.bucket, []).append(visit)
    visits = [visit for members in buckets.values() for visit in members]
    bounds = [len(visits) * index // count for index in range(count + 1)]
    return [visits[bounds[index] : bounds[index + 1]] for index in range(count)]


def _weighed(visits: Sequence[Visit], total: float) -> list[Visit]:
    """``visits`` with weights that add up to ``total``."""
    return [visit._replace(weight=total / len(visits)) for visit in visits]


def _micros(examples: Sequence[Example], visits: Sequence[Visit], most: int) -> Step:
    """The visits of a step with their positions, in groups of up to ``most`` that share a bucket."""
    buckets: dict[Size, list[Visit]] = {}
    for position, visit in enumerate(visits):
        buckets.setdefault(examples[visit.example].bucket, []).append(visit._replace(position=position))
    return tuple(
        tuple(members[first : first + most]) for members in buckets.values() for first in range(0, len(members), most)
    )


def _training(examples: Sequence[Example]) -> list[int]:
    """Index of the example of every training visit of an epoch, in the order of the examples."""
    return [index for index, one in enumerate(examples) if not one.regularisation for _ in range(one.repeats)]


def _prior(examples: Sequence[Example], seed: int, epoch: int, count: int) -> list[int]:
    """Index of the example of ``count`` regularisation visits; none where there are no regularisation images.

    In one shuffled order, which an epoch goes on with where the last one stopped: all get their turn.
    """
    pool = [index for index, one in enumerate(examples) if one.regularisation for _ in range(one.repeats)]
    if not pool:
        return []
    order = generator(seed, "prior").permutation(len(pool)).tolist()
    return [pool[order[(epoch * count + position) % len(pool)]] for position in range(count)]
