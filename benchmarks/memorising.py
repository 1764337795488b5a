"""Do the measures of copying and of falling apart tell LoRAs that do it from LoRAs that do not?

``python -m benchmarks.memorising brands --packs node_modules``: draws the brands that are not in the repository;
``python -m benchmarks.memorising train [--only WORD ...]``: trains the LoRAs of the pocket model, a minute or two each;
``python -m benchmarks.memorising rate``: every measure of every checkpoint, and what it truly is;
``python -m benchmarks.memorising report``: the areas under the ROC curves.

All keep what they have done in ``--work`` (``memorising_work``), so each can be repeated where it was interrupted.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import quality
from benchmarks.memorising_rating import Rating
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
# Images, steps and what differs from the demo's preset. Healthy: as many epochs as the choosing of checkpoints takes.
# Memorising: 160 epochs of 6 images. The LoRA after half the steps is kept, too.
KINDS = {
    "healthy": (42, 154, {"save_epochs": 7}),
    "memorising": (6, 240, {"save_epochs": 60, "lora_rank": 32, "caption_dropout": 0}),
}


@dataclass(frozen=True)
class Trained:
    """One training of the benchmark, of so many of the brand's images; ``settings`` differ from the preset."""

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
        "validation_share": 0,
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
    run.train(config, StandaloneHost(), report=progress)
    progress.close()
    files.write_text(Path(config.output_dir) / "done", "")


def _copy_images(source: Path, target: Path, one: Trained) -> None:
    """The brand's images, or as many of them as the training takes, chosen by its seed."""
    with (source / "metadata.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    if one.images < len(rows):
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


def rate(one: Trained, work: Path) -> None:
    """Every measure of all its checkpoints; none twice."""
    folder = work / "runs" / one.name
    files_there = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    todo = [lora for lora in files_there if not lora.with_suffix(".figures.json").exists()]
    if not todo:
        return
    config = config_of(one, work)
    with StandaloneHost().open(config) as session:
        rating = Rating(config, session, folder_of(one.brand, work))
        for lora in todo:
            figures = rating.rate(lora)
            files.write_text(lora.with_suffix(".figures.json"), json.dumps(figures))
            print(one.name, lora.stem, json.dumps(figures), file=sys.stderr)


def area(healthy: Sequence[float], memorising: Sequence[float]) -> float:
    """Area under the ROC curve: how often a memorising LoRA's figure is the higher one, ties half."""
    pairs = [(one > other) + (one == other) / 2 for one in memorising for other in healthy]
    return sum(pairs) / len(pairs)


def report(chosen: Sequence[Trained], work: Path) -> None:
    """Print the figures by kind, and the area of each."""
    rated: dict[str, list[dict[str, float]]] = {}
    for one in chosen:
        for path in sorted((work / "runs" / one.name).glob("*.figures.json")):
            figures = json.loads(path.read_text(encoding="utf-8"))
            rated.setdefault(one.kind, []).append(figures)
    healthy, memorising = (rated.get(kind, []) for kind in KINDS)
    if not healthy or not memorising:
        return
    print(f"{len(healthy)} healthy, {len(memorising)} memorising")
    names = dict.fromkeys(name for figures in healthy for name in figures)
    # What a single figure cannot say.
    for figures in (*healthy, *memorising):
        figures["recall - unseen_recall"] = figures["recall"] - figures["unseen_recall"]
    for name in (*names, "recall - unseen_recall"):
        one, other = ([figures[name] for figures in series] for series in (healthy, memorising))
        print(f"{name:24} {_range(one)}   {_range(other)}   area {area(one, other):.2f}")


def _range(values: Sequence[float]) -> str:
    return f"{min(values):7.3f} {statistics.median(values):7.3f} {max(values):7.3f}"


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
    elif options.part == "rate":
        for one in chosen:
            rate(one, work)
    else:
        report(chosen, work)


if __name__ == "__main__":
    main()
