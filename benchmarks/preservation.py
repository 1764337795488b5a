"""What prior preservation keeps and what it costs: trainings of a brand with a trigger word, on the pocket model.

With each seed a brand is trained with nothing, with regularisation images that the base model has drawn, and with the
class prompt (``prior_preservation: class_prompt``) at several weights. Kept is what prompts without the trigger word
give, as far as it is what the base model gives: its prediction, and images drawn from the same noise. The cost is the
time of a step, and how near prompts with the trigger word come to the brand's own images of held-out objects.

``python benchmarks/preservation.py [--brand NAME] [--seeds N ...] [--steps N] [--only WORD ...] [--trigger WORD]
[--text-encoder]``, on a CPU. Prints a JSON object for each training as it ends, then the means over the seeds as a
table.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks import quality, training
from benchmarks.quality import BRANDS, DRAWING_SEED, TIMESTEPS_PER_IMAGE, Measures
from lora_scripts_ext.config import Config
from lora_scripts_ext.contract import Conditioning
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.session import StandaloneSession
from lora_scripts_ext.training import objective
from pocket import demo

#: a word that no caption holds; the pocket model has learned to read over such words in front of a caption
TRIGGER = "lmra"
#: what each training adds to the demo's settings; ``reg_data_dir`` is filled in
WAYS: dict[str, dict[str, Any]] = {
    "none": {},
    "class images, weight 1": {"reg_data_dir": ""},
    **{
        f"class prompt, weight {weight:g}": {"prior_preservation": "class_prompt", "prior_loss_weight": weight}
        for weight in (1, 3)
    },
}
CLASS_SEED, OTHER_SEED = 101, 12
#: how many prompts without the trigger word are drawn, of objects in the training images and of others
CLASSES = 4
MEASURES = (
    "cpu_seconds_a_step", "brand_loss", "brand_distance", "moved_seen", "moved_unseen", "drawn_seen", "drawn_unseen",
)  # fmt: skip


def main() -> None:
    """Train, measure, print."""
    options = _options()
    rows = []
    first = training.preset(options.brand, 0, 1)
    with StandaloneHost().open(first) as session, tempfile.TemporaryDirectory() as folder:
        bench = Bench(session, options.brand, Path(folder), _common(options))
        print(json.dumps({"another_seed": bench.another_seed(), "torch": torch.__version__}), flush=True)
        for seed in options.seeds:
            for way in options.ways:
                rows.append(bench.row(seed, options.steps, way))
                print(json.dumps(rows[-1]), flush=True)
    print("\n".join(_table(rows)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brand", choices=BRANDS, default="lumora")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="ways that hold one of these words")
    parser.add_argument("--trigger", default=TRIGGER, help="the trigger word")
    parser.add_argument("--text-encoder", action="store_true", help="train the text encoder, too")
    options = parser.parse_args()
    options.ways = [way for way in WAYS if any(word in way for word in options.only)]
    return options


def _common(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of all trainings; captions are always there, as the class prompt demands."""
    return {"trigger_word": options.trigger, "train_text_encoder": options.text_encoder, "caption_dropout": 0}


@dataclass(frozen=True)
class Classes:
    """Prompts without the trigger word, and what the base model makes of them.

    Attributes:
        prompts: one for each class.
        noisy: float32 [classes · timesteps, channels, height, width], of the base model's own images.
        timesteps: int64 [classes · timesteps].
        predicted: float32 like ``noisy``.
        drawn: an image for each class.
    """

    prompts: list[str]
    noisy: Tensor
    timesteps: Tensor
    predicted: Tensor
    drawn: list[Image.Image]

    @torch.no_grad()
    def moved(self, session: StandaloneSession) -> float:
        """Mean squared difference of the prediction from the base model's: in the unit of the loss."""
        now = session.predict(self.noisy, self.timesteps, _conditioning(session, self.prompts))
        return (now - self.predicted).square().mean().item()

    def distance(self, session: StandaloneSession, config: Config) -> float:
        """Root mean square difference of the drawn images from the base model's, in 0..1; the mean over the classes."""
        return _distance(self.drawn, _drawn(session, config, self.prompts, DRAWING_SEED))


class Bench:
    """The model without a LoRA, and what is measured against it."""

    def __init__(self, session: StandaloneSession, brand: str, folder: Path, common: dict[str, Any]) -> None:
        """``folder`` is for temporary files, ``common`` are settings of all trainings."""
        self.session = session
        self._common = common
        self.config = training.preset(brand, 0, 1)
        self._brand = brand
        self._folder = folder
        self._seen_phrases = _phrases(BRANDS[brand] / "brand")
        self.seen = self._classes(self._seen_phrases[:: len(self._seen_phrases) // CLASSES][:CLASSES])
        self.unseen = self._classes(_phrases(BRANDS[brand] / "held_out")[::2])
        self._own = self._held_out(BRANDS[brand] / "held_out")

    def row(self, seed: int, steps: int, way: str) -> dict[str, Any]:
        """One training and its measures."""
        settings = self._common | {key: value or str(self._class_images()) for key, value in WAYS[way].items()}
        config = training.preset(self._brand, seed, steps, output_dir=str(self._folder / "out"), **settings)
        with ExitStack() as stack:
            running = training.Ours(self.session, config, None, stack)
            seconds = []
            for number in range(steps):
                start = time.process_time()
                running.step(number)
                seconds.append(time.process_time() - start)
            with running.delivered():
                measured = self._measured()
        row = {"way": way, "seed": seed, "cpu_seconds_a_step": statistics.median(seconds), **measured}
        return {key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()}

    def another_seed(self) -> float:
        """How far the base model's images are from others of the same prompts: the scale of ``drawn_unseen``."""
        others = _drawn(self.session, self.config, self.unseen.prompts, OTHER_SEED)
        return round(_distance(self.unseen.drawn, others), 4)

    def _measured(self) -> dict[str, float]:
        # The text encoder may have been trained.
        own = replace(self._own, conditioning=_conditioning(self.session, [one.prompt for one in self._own.objects]))
        return {
            "brand_loss": own.loss(self.session),
            "brand_distance": own.distance(self.session),
            "moved_seen": self.seen.moved(self.session),
            "moved_unseen": self.unseen.moved(self.session),
            "drawn_seen": self.seen.distance(self.session, self.config),
            "drawn_unseen": self.unseen.distance(self.session, self.config),
        }

    def _held_out(self, folder: Path) -> Measures:
        """The brand's own images of held-out objects, prompted with the trigger word."""
        plain = quality.measures(self.session, self.config, folder)
        objects = [replace(one, prompt=f"{self._common['trigger_word']}, {one.prompt}") for one in plain.objects]
        return replace(plain, objects=objects)

    @torch.no_grad()
    def _classes(self, prompts: Sequence[str]) -> Classes:
        """The prompts, each at ``TIMESTEPS_PER_IMAGE`` timesteps of an image that the base model draws of it."""
        session, sides = self.session, self.config.sides(self.session.model.resolution)
        drawn = _drawn(session, self.config, prompts, DRAWING_SEED)
        pixels = torch.stack([quality.pixels_of(one, sides) for one in drawn])
        latents = session.encode_images(pixels).mean.repeat_interleave(TIMESTEPS_PER_IMAGE, 0)
        generator = torch.Generator().manual_seed(0)
        stretch = len(session.model.alphas_cumprod) / TIMESTEPS_PER_IMAGE
        starts = torch.arange(TIMESTEPS_PER_IMAGE).repeat(len(prompts)) * stretch
        timesteps = (starts + stretch * torch.rand(len(starts), generator=generator)).long()
        noise = torch.randn(latents.shape, generator=generator)
        noisy = objective.add_noise(latents, noise, session.model.alphas_cumprod[timesteps])
        predicted = session.predict(noisy, timesteps, _conditioning(session, prompts))
        return Classes(list(prompts), noisy, timesteps, predicted, drawn)

    def _class_images(self) -> Path:
        """Regularisation images, drawn once by the base model, which has no adapter yet, from the training captions."""
        folder = self._folder / "class"
        if not folder.exists():
            folder.mkdir()
            for number, image in enumerate(_drawn(self.session, self.config, self._seen_phrases, CLASS_SEED)):
                image.save(folder / f"{number:02d}.png")
                (folder / f"{number:02d}.txt").write_text(self._seen_phrases[number], encoding="utf-8")
        return folder


def _phrases(folder: Path) -> list[str]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as rows:
        return [row["prompt"] for row in csv.DictReader(rows)]


@torch.no_grad()
def _conditioning(session: StandaloneSession, prompts: Sequence[str]) -> Conditioning:
    return Conditioning(session.encode_text(list(prompts)).context.repeat_interleave(TIMESTEPS_PER_IMAGE, 0))


def _drawn(session: StandaloneSession, config: Config, prompts: Sequence[str], seed: int) -> list[Image.Image]:
    return [session.preview(demo.request(config, prompt, seed)) for prompt in prompts]


def _distance(some: Sequence[Image.Image], others: Sequence[Image.Image]) -> float:
    arrays = [[np.asarray(one.convert("RGB"), np.float32) / 255 for one in images] for images in (some, others)]
    return statistics.fmean(float(np.sqrt(np.mean((a - b) ** 2))) for a, b in zip(*arrays, strict=True))


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The mean of each way, and the standard deviation between its trainings."""
    yield "| | trainings | " + " | ".join(MEASURES) + " |"
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        cells = []
        for key in MEASURES:
            values = [row[key] for row in own]
            cells.append(f"{statistics.fmean(values):.4f} ± {statistics.pstdev(values):.4f}")
        yield f"| {way} | {len(own)} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
