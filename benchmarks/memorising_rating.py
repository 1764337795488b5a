"""Every measure of a LoRA of ``benchmarks.memorising``, and what no measure knows: the brand's own images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import quality
from lora_scripts_ext.adapters.applied import applied
from lora_scripts_ext.config import Config
from lora_scripts_ext.contract import Session
from lora_scripts_ext.dataset import source
from lora_scripts_ext.dataset.store import Store
from lora_scripts_ext.evaluation import latents, perceptual_hash
from lora_scripts_ext.evaluation.examination import Examination
from lora_scripts_ext.training.held_out import HeldOutLoss
from pocket import demo

# Objects that the measures may name; the others of a brand are what the LoRA is judged by.
UNSEEN = 6
PREVIEWS = 4
DRAWING_SEED = 11
_STEPS = 8
_DRAWS = 24


@dataclass(frozen=True)
class Objects:
    """A brand's images of what is not trained on.

    Attributes:
        folder: of those whose prompts and images the measures know.
        names: of these.
        prompts: of these.
        judged: those that only the judgement knows.
    """

    folder: Path
    names: list[str]
    prompts: list[str]
    judged: list[demo.Object]


def objects_of(brand: Path) -> Objects:
    """Of the pocket model's own brands ``tuning/`` and ``held_out/``, of the others the two halves of ``unseen/``."""
    folder = brand / "tuning" if (brand / "tuning").exists() else brand / "unseen"
    rows = [line.split(",") for line in (folder / "metadata.csv").read_text(encoding="utf-8").splitlines()[1:]]
    judged = demo.read_objects(brand / "held_out") if folder.name == "tuning" else demo.read_objects(folder)[UNSEEN:]
    names, prompts = zip(*rows[:UNSEEN], strict=True)
    return Objects(folder, list(names), list(prompts), judged[:UNSEEN])


class Rating:
    """The measures of one training's LoRAs on an open model."""

    def __init__(self, config: Config, session: Session, brand: Path) -> None:
        config = replace(config, batch_size=16)
        self._config, self._session = config, session
        self._objects = objects_of(brand)
        self._store = _store(config, session)
        held_out = _store(replace(config, train_data_dir=str(self._objects.folder)), session, self._objects.names)
        self._examination = Examination(config, session, self._store, held_out)
        self._known = self._examination.subjects
        self._images = {one.caption: _opened(one.path) for one in self._store.examples}
        seen = self._store.only(range(min(UNSEEN, len(self._store.examples))))
        self._losses = [HeldOutLoss(config, session, one, draws=_DRAWS) for one in (seen, held_out)]
        self._base_losses = [loss().mean for loss in self._losses]

    def rate(self, lora: Path) -> dict[str, float]:
        """The figures of the LoRA in a file."""
        session = self._session
        with applied(session, lora):
            started = time.process_time()
            found = self._examination()
            seconds = time.process_time() - started
            seen, held = (loss().mean / base for loss, base in zip(self._losses, self._base_losses, strict=True))
            shown = [self._draw(caption) for caption in self._known.captions[:PREVIEWS]]
            unseen = [self._draw(prompt) for prompt in self._objects.prompts]
            judged = [self._draw(one.prompt) for one in self._objects.judged]
        for kind, images in (("shown", shown), ("unseen", unseen), ("judged", judged)):
            for number, image in enumerate(images):
                folder = lora.parent / "drawn" / lora.stem
                folder.mkdir(parents=True, exist_ok=True)
                image.save(folder / f"{kind}-{number}.png")
        return {
            **asdict(found),
            "seconds": seconds,
            "loss_gap": held / seen,
            "held_out_loss": held,
            **self._of_previews(shown, unseen),
            **self._truth(shown, judged),
        }

    def _of_previews(self, shown: Sequence[Image.Image], unseen: Sequence[Image.Image]) -> dict[str, float]:
        training, own = self._known.latents, list(self._known.own[: len(shown)])
        size = self._store.examples[0].bucket
        encoded = latents.encoded(self._session, [*shown, *unseen], size)
        images = list(self._images.values())
        among = perceptual_hash.distances(images, images)
        np.fill_diagonal(among, 1)
        hashes = perceptual_hash.distances([*shown, *unseen], images)
        captions = list(self._images)
        of_own = [hashes[row, captions.index(caption)] for row, caption in enumerate(self._known.captions[:PREVIEWS])]
        return {
            "previews_recall": latents.agreement(encoded[: len(shown)], training[own]),
            "previews_nearest": latents.nearest(encoded[len(shown) :], training),
            "previews_variety": latents.variety(encoded[len(shown) :]) / latents.variety(training),
            "hash_own": float(np.median(of_own)),
            "hash_nearest": float(np.median(hashes[len(shown) :].min(1)) / max(np.median(among.min(1)), 1 / 64)),
        }

    def _truth(self, shown: Sequence[Image.Image], judged: Sequence[Image.Image]) -> dict[str, float]:
        """Distances in pixels: of objects to the brand's own image of them, and of captions to their training image."""
        on, around = demo.mean_distances(self._objects.judged, [[image] for image in judged])
        own = [self._images[caption] for caption in self._known.captions[:PREVIEWS]]
        seen = np.mean([_difference(image, one) for image, one in zip(shown, own, strict=True)])
        pairs = zip(judged, self._objects.judged, strict=True)
        other = np.mean([_difference(image, one.image) for image, one in pairs])
        # A LoRA that copies draws its training images much better than the brand's images of other objects.
        return {"object": float(on), "ground": float(around), "seen": float(seen), "copies": float(other / seen)}

    def _draw(self, prompt: str) -> Image.Image:
        return self._session.preview(replace(demo.request(self._config, prompt, DRAWING_SEED), steps=_STEPS))


def _store(config: Config, session: Session, names: Sequence[str] | None = None) -> Store:
    dataset = source.read(config, config.sides(session.model.resolution), session.model.vae_factor)
    dataset = dataset if names is None else dataset.only(names)
    return Store.build(dataset, session, config, progress=lambda *_: None, check=lambda: None, budget_bytes=2**32)


def _opened(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


def _difference(drawn: Image.Image, own: Image.Image) -> float:
    """Root mean square, in 0..1."""
    one, other = quality.pixels_of(drawn, drawn.size), quality.pixels_of(own, drawn.size)
    return ((one - other) / 2).square().mean().sqrt().item()
