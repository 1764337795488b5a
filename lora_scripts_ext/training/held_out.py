"""The loss on held-out images, which are not trained on: whether what a LoRA has learned holds for others, too."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from .. import memory
from ..adapters.applied import applied
from ..config import Config
from ..contract import Conditioning, Session
from ..dataset import source
from ..dataset.near_duplicates import near_duplicates
from ..dataset.plan import Visit
from ..dataset.store import Store
from ..parallel import Check, Progress
from ..random_streams import HELD_OUT, generator
from . import objective

_LEAST, _MOST = 2, 16
# Pairs of noise and timestep in all: with fewer, the few images that are held out say little.
_DRAWS = 64
# A single prediction uses little of a processor.
_SMALLEST_BATCH = 4
# Of the device's free memory, for at most 16 images.
_CACHE_SHARE = 0.1


def choose(
    contents: Mapping[str, str],
    seed: int,
    *,
    share: float = 0.1,
    eligible: Collection[str] | None = None,
    before: Collection[str] = (),
) -> list[str]:
    """Which images to hold out: a share, at least 2 and at most 16, sorted by name; none where there are too few.

    It is the content that decides, so that the choice stays as the dataset grows, whatever its files are called.

    Args:
        contents: a hash of the content of every image, by name.
        seed: of the choice.
        share: of all images.
        eligible: the images that may be held out, None for all: not those that look like others, or that the LoRA to
            compare with has been trained on. Half of them at most are chosen.
        before: the contents held out so far, which stay so.
    """
    pool = [name for name in contents if eligible is None or name in eligible]
    first: dict[str, str] = {}
    for name in sorted(pool):
        first.setdefault(contents[name], name)
    ranked = sorted(first.values(), key=lambda name: (contents[name] not in before, _rank(seed, contents[name])))
    kept = sum(contents[name] in before for name in ranked)
    wanted = min(max(_LEAST, round(share * len(contents))), _MOST)
    count = max(min(wanted, len(ranked) // 2), min(wanted, kept))
    return sorted(ranked[:count]) if count >= _LEAST else []


def expected(images: int, config: Config) -> int:
    """How many of so many different images ``validation_share`` holds out."""
    wanted = round(config.validation_share * images)
    return min(wanted, _MOST, images // 2) if wanted >= _LEAST else 0


def split(store: Store, config: Config) -> list[int]:
    """The indices of the examples of a run that ``validation_share`` holds out.

    Images that nearly look like another one stay in the training set: the loss on a copy of what is trained on would
    say nothing. Empty where so many images are not to be had.
    """
    training = [index for index, one in enumerate(store.examples) if not one.regularisation]
    if not expected(len(training), config):
        return []
    copies = near_duplicates([store.latents(index) for index in training])
    indices = {store.examples[index].name: index for index in training}
    eligible = {store.examples[index].name for position, index in enumerate(training) if position not in copies}
    contents = {name: store.contents[index] for name, index in indices.items()}
    chosen = choose(contents, config.seed, share=config.validation_share, eligible=eligible)
    return [indices[name] for name in chosen]


@dataclass(frozen=True)
class Losses:
    """The loss on held-out images.

    Attributes:
        by_image: the mean of each image, in the order of the store.
    """

    by_image: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over all images."""
        return math.fsum(self.by_image) / len(self.by_image)


@dataclass(frozen=True)
class Comparison:
    """Two LoRAs on the same images, noise and timesteps.

    Attributes:
        difference: mean loss of the first minus that of the second.
        tolerance: the standard error of the difference: from one choice of held-out images to another it varies as
            much.
    """

    difference: float
    tolerance: float

    @property
    def no_worse(self) -> bool:
        """Whether the first is no worse than the second, as far as so many images can tell."""
        return self.difference <= self.tolerance


def compare(first: Losses, second: Losses) -> Comparison:
    """Compare image by image, which leaves out how hard each image is for both."""
    differences = [one - other for one, other in zip(first.by_image, second.by_image, strict=True)]
    mean = math.fsum(differences) / len(differences)
    variance = math.fsum((one - mean) ** 2 for one in differences) / max(1, len(differences) - 1)
    return Comparison(mean, math.sqrt(variance / len(differences)))


class HeldOutLoss:
    """The training loss on the training images of a store, with fixed crops, captions, noise and timesteps.

    Called again and again, as after every epoch, it differs by what the adapter has learned alone.
    """

    def __init__(self, config: Config, session: Session, store: Store, *, draws: int | None = None) -> None:
        """``draws``: pairs of noise and timestep in all, which the images share; at least one for each. None: 64."""
        self._config = config
        self._session = session
        self._store = store
        self._objective = objective.of(session.model)
        self._images = [index for index, one in enumerate(store.examples) if not one.regularisation]
        self._rounds = math.ceil((draws or _DRAWS) / len(self._images))
        self._shares = stratified(config.seed, len(self._images), self._rounds)

    @classmethod
    def of_images(
        cls,
        config: Config,
        session: Session,
        names: Collection[str],
        *,
        progress: Progress = lambda done, total, what: None,
        check: Check = lambda: None,
    ) -> HeldOutLoss:
        """On the images of these names in ``train_data_dir``, encoded or read from the cache.

        Raises:
            UserError: none of them can be used.
        """
        own = replace(config, reg_data_dir="", prior_preservation="none", class_prompt="")
        model = session.model
        dataset = source.read(own, own.sides(model.resolution), model.vae_factor).only(names)
        budget = memory.free(model.device, _CACHE_SHARE)
        store = Store.build(dataset, session, own, progress=progress, check=check, budget_bytes=budget)
        session.release_encoders(text=not config.train_text_encoder)
        return cls(own, session, store)

    @torch.no_grad()
    def __call__(self, at_once: int | None = None) -> Losses:
        """The loss of the model as it is now: with the adapter that is attached, if there is one.

        ``at_once``: the most predictions to compute together; None takes :attr:`usual_batch`.
        """
        total = torch.zeros(len(self._images))
        for visits, rounds in self._batches(at_once or self.usual_batch):
            positions = torch.tensor([visit.position for visit in visits])
            total.index_add_(0, positions, self._losses(visits, rounds).float().cpu())
        return Losses(tuple((total / self._rounds).tolist()))

    @property
    def usual_batch(self) -> int:
        """As many predictions as a training step computes together; a few more than one, as they keep nothing for a
        backward pass."""
        return max(self._config.batch_size, _SMALLEST_BATCH)

    def of_file(self, lora: Path | None) -> Losses:
        """The loss with the LoRA in a file, or, with None, of the base model; no adapter must be attached.

        Raises:
            UserError: the file cannot be read, or is for another model.
        """
        with nullcontext() if lora is None else applied(self._session, lora):
            return self()

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self._images)

    def _batches(self, size: int) -> Iterator[tuple[list[Visit], list[int]]]:
        """All images in all rounds, in groups of one bucket of at most ``size``: the visits, and the round of each."""
        buckets: dict[tuple[int, int], list[Visit]] = {}
        for position, index in enumerate(self._images):
            buckets.setdefault(self._store.examples[index].bucket, []).append(Visit(index, 0, 0, position))
        for visits in buckets.values():
            pairs = [(visit, number) for number in range(self._rounds) for visit in visits]
            for first in range(0, len(pairs), size):
                group = pairs[first : first + size]
                yield [visit for visit, _ in group], [number for _, number in group]

    def _losses(self, visits: Sequence[Visit], rounds: Sequence[int]) -> Tensor:
        """The loss of each image in its round, float32 [visits] on the device."""
        config, device = self._config, self._session.model.device
        batch = self._store.batch(visits, device)
        shape = batch.mean.shape[1:]
        draws = [self._draw(visit.position, number, shape) for visit, number in zip(visits, rounds, strict=True)]
        noise = torch.cat([draw.noise for draw in draws]).to(device)
        latents = batch.mean + batch.std * torch.cat([draw.latent for draw in draws]).to(device)
        at = [
            self._objective.timestep_at(self._shares[number][visit.position], shape)
            for visit, number in zip(visits, rounds, strict=True)
        ]
        timesteps = torch.stack(at).to(device)
        conditioning = batch.conditioning
        if conditioning is None:
            text = self._session.encode_text(batch.captions)
            conditioning = Conditioning(text.context, text.pooled, batch.time_ids)
        noisy = self._objective.add_noise(latents, noise, timesteps)
        prediction = self._session.predict(noisy, timesteps, conditioning)
        weight = None
        if batch.mask is not None:
            weight = objective.mask_weight(batch.mask, config.unmasked_weight, config.normalize_masked_area_loss)
        target = self._objective.target(latents, noise, timesteps)
        losses = objective.per_example_loss(prediction, target, config.loss, config.huber_delta, weight)
        if config.min_snr_gamma:
            losses = losses * self._objective.min_snr_weight(timesteps, config.min_snr_gamma)
        return losses

    def _draw(self, position: int, number: int, shape: Sequence[int]) -> objective.Draw:
        """Noise and latent sample of the image at ``position`` in round ``number``."""
        seed, offset = self._config.seed, self._config.noise_offset
        return objective.draw(seed, number, [position], shape, self._objective.sample_timestep, offset, HELD_OUT)


def stratified(seed: int, images: int, rounds: int) -> list[list[float]]:
    """Shares in 0 to 1 (exclusive), [rounds][images]: one in each of ``rounds`` x ``images`` equal strata, and of every
    image one in each of ``rounds`` equal strata."""
    draw = generator(seed, "held out")
    shares = []
    for number in range(rounds):
        within = (draw.permutation(images) + draw.random(images)) / images
        # The largest float below 1, or rounding could reach the end of the last stratum.
        shares.append([min((number + one) / rounds, 1 - 2**-53) for one in within.tolist()])
    return shares


def _rank(seed: int, content: str) -> str:
    return hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()
