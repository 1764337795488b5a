"""Do the measures of copying and of falling apart tell LoRAs that do it from LoRAs that do not?

``python -m benchmarks.memorising brands --packs node_modules``: draws the brands that are not in the repository;
``python -m benchmarks.memorising train [--only WORD ...]``: trains the LoRAs of the pocket model, an hour on two cores;
``python -m benchmarks.memorising rate``: every measure of every checkpoint, and what it truly is;
``python -m benchmarks.memorising report``: the areas under the ROC curves.

All keep what they have done in ``--work`` (``memorising_work``), so each can be repeated where it was interrupted.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import quality
from lora_scripts_ext import config as configs
from lora_scripts_ext import files
from lora_scripts_ext.config import Config
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.progress import Progress
from lora_scripts_ext.random_streams import generator
from lora_scripts_ext.training import run
from pocket import demo

POCKET = Path(demo.HERE)
PRESET = POCKET.parent / "configs" / "demo.yaml"
BRANDS = ("lumora", "argilla", "fondant")
SEEDS = (1, 2, 3)
# Images, steps, rank and what else differs from the demo's preset.
KINDS = {
    "healthy": (0, 90, {}),
    "memorising": (6, 90, {"lora_rank": 32, "caption_dropout": 0}),
}
# Steps after which a training that falls apart may be stopped.
COLLAPSED = 144


@dataclass(frozen=True)
class Trained:
    """One training of the benchmark; ``images`` 0 takes all of the brand, ``settings`` differ from the preset."""

    brand: str
    kind: str
    seed: int
    images: int
    steps: int
    settings: dict[str, object]

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.brand}-{self.kind}-{self.seed}"


def trainings() -> Iterator[Trained]:
    """Those of the benchmark: the first seeds first."""
    for seed in SEEDS:
        for brand in BRANDS:
            for kind, (images, steps, settings) in KINDS.items():
                yield Trained(brand, kind, seed, images, steps, settings)
        # The demo's settings as they are, of which the first third is enough.
        yield Trained("selva", "collapse", seed, 0, 360, {"save_epochs": 2})


def folder_of(brand: str, work: Path) -> Path:
    """Where ``brand/`` and the images of other objects of a brand are."""
    return quality.BRANDS.get(brand, work / brand)


def config_of(one: Trained, work: Path) -> Config:
    """The demo's preset with the training's own settings."""
    values = {
        "train_data_dir": work / "runs" / one.name / "images",
        "base_model": POCKET / "model" / "pocket.safetensors",
        "output_dir": work / "runs" / one.name,
        "seed": one.seed,
        "max_steps": one.steps,
        "epochs": 10000,
        **one.settings,
    }
    return configs.load(PRESET, [f"{key}={value}" for key, value in values.items()])


def train(one: Trained, work: Path) -> None:
    """Train it, unless that is done."""
    config = config_of(one, work)
    if (Path(config.output_dir) / "done").exists():
        return
    _copy_images(folder_of(one.brand, work) / "brand", Path(config.train_data_dir), one)
    progress = Progress(sys.stderr)
    last = COLLAPSED if one.kind == "collapse" else one.steps
    taken = [0]

    def report(event: dict[str, object]) -> None:
        progress(event)
        taken[0] += event["event"] == "step"

    run.train(config, StandaloneHost(), report=report, should_stop=lambda: taken[0] >= last)
    progress.close()
    files.write_text(Path(config.output_dir) / "done", "")


def _copy_images(source: Path, target: Path, one: Trained) -> None:
    """The brand's images, or as many of them as the training takes, chosen by its seed."""
    with (source / "metadata.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    if one.images:
        chosen = generator(one.seed, "benchmark", one.brand).permutation(len(rows))[: one.images]
        rows = [rows[index] for index in sorted(chosen)]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["filename", "prompt"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / row["filename"], target / row["filename"])
        writer.writerow(row)
    files.write_text(target / "metadata.csv", text.getvalue())


def main(arguments: Sequence[str] | None = None) -> None:
    """Do one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("brands", "train", "rate", "report"))
    parser.add_argument("--work", type=Path, default=Path("memorising_work"))
    parser.add_argument("--packs", type=Path, default=Path("node_modules"))
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="trainings whose name holds a word")
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    chosen = [one for one in trainings() if any(word in one.name for word in options.only)]
    if options.part == "brands":
        from benchmarks import brands  # it needs resvg-py, the rest does not

        for name in ("fondant", "selva"):
            brands.write(name, options.packs, work / name)
    elif options.part == "train":
        for one in chosen:
            train(one, work)


if __name__ == "__main__":
    main()
