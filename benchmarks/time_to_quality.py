"""Time to quality: how soon our preset is as good as diffusers' recipe, on the pocket model and two brands.

Both train on the same images at the same rank and frozen model. Two measures on held-out objects:
the validation loss (plain squared error over a fixed set of noises and timesteps) and the demo's distance of generated
images. The reference runs its budget of steps, once as documented and once tuned: at the best of a few learning
rates, found with ``--sweep`` on the brands' ``tuning/`` objects, and with the four images of a step at once. Our
preset is planned for a shorter run, whose learning rate ends at zero there. Time is that of training, caching included,
measuring excluded.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
warnings.filterwarnings("ignore", module="diffusers")

from benchmarks import candidates, quality, training
from benchmarks.diffusers_recipe import Recipe
from benchmarks.training import Point
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.session import StandaloneSession

RATES = (1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
BEST_RATE = 8e-3
MEASURE_EVERY = 40


def main() -> None:
    """Compare, sweep or try, and print the result."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    with StandaloneHost().open(training.preset("lumora", 0, 1)) as session:
        bench = Bench(session, options)
        if options.sweep:
            report = {"sweep": list(bench.sweep())}
        elif options.tried:
            report = {"tried": list(bench.attempts(options.tried))}
        else:
            report = bench.compare()
    print(json.dumps(report) if options.json else _readable(report))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brands", nargs="+", choices=quality.BRANDS, default=list(quality.BRANDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=300, help="the reference's budget")
    parser.add_argument("--our-steps", type=int, default=150, help="how long our preset is planned for")
    parser.add_argument("--threads", type=int, default=0, help="0 leaves it to torch")
    parser.add_argument("--sweep", action="store_true", help="the reference at several rates, on tuning objects")
    parser.add_argument(
        "--try", dest="tried", nargs="+", choices=candidates.ALL, metavar="NAME",
        help="candidates against the plain preset at equal steps, on tuning objects: " + ", ".join(candidates.ALL),
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    return parser.parse_args()


class Bench:
    """The model, and the measures of both brands on it."""

    def __init__(self, session: StandaloneSession, options: argparse.Namespace) -> None:
        self.session = session
        self.options = options
        self.config = training.preset("lumora", 0, 1)
        self._measures: dict[Path, quality.Measures] = {}

    def compare(self) -> dict[str, Any]:
        """Every brand and seed: the reference documented and tuned, and ours; the medians of what ours is to theirs."""
        runs = [self._compared(brand, seed) for brand in self.options.brands for seed in self.options.seeds]
        medians = {
            f"{key} {what}": round(statistics.median(run[key][what] for run in runs), 3)
            for key in ("documented", "tuned")
            for what in ("loss_ratio", "distance_ratio", "time_ratio")
        }
        return {"runs": runs, **medians, "torch": torch.__version__, "threads": torch.get_num_threads()}

    def sweep(self) -> Iterator[dict[str, Any]]:
        """The reference's end at each rate, on tuning objects."""
        for brand in self.options.brands:
            for rate in RATES:
                ends = [
                    self._reference(brand, seed, "tuning", _tuned(self.options.steps, rate))[-1]
                    for seed in self.options.seeds
                ]
                yield {"brand": brand, "rate": rate, **_means(ends)}

    def attempts(self, names: list[str]) -> Iterator[dict[str, Any]]:
        """The ends of the plain preset and of candidates on tuning objects, at equal steps; each beside the plain one's
        of the same brand and seed.
        """
        plain = self._ends(candidates.ALL["plain"])
        for name in dict.fromkeys(["plain", *names]):
            ends = plain if name == "plain" else self._ends(candidates.ALL[name])
            yield {"name": name, **_means(ends), **_beside(ends, plain)}

    def _ends(self, candidate: candidates.Candidate) -> list[Point]:
        runs = [(brand, seed) for brand in self.options.brands for seed in self.options.seeds]
        return [self._ours(brand, seed, "tuning", candidate)[-1] for brand, seed in runs]

    def _compared(self, brand: str, seed: int) -> dict[str, Any]:
        steps, rank = self.options.steps, self.config.lora_rank
        mine = self._ours(brand, seed, "held_out", candidates.ALL["plain"])
        result = {"brand": brand, "seed": seed, "ours": _end(mine)}
        for key, recipe in (("documented", Recipe(steps, rank)), ("tuned", _tuned(steps, BEST_RATE))):
            theirs = self._reference(brand, seed, "held_out", recipe)
            result[key] = _end(theirs) | _against(mine, theirs[-1])
        print(json.dumps(result), file=sys.stderr)
        return result

    def _reference(self, brand: str, seed: int, folder: str, recipe: Recipe) -> list[Point]:
        return training.reference(
            self.session, brand, seed, recipe, self._measured(brand, folder), _measured_steps(recipe.steps)
        )

    def _ours(self, brand: str, seed: int, folder: str, candidate: candidates.Candidate) -> list[Point]:
        steps = self.options.our_steps
        config = training.preset(brand, seed, steps, **candidate.settings)
        return training.ours(
            self.session, config, self._measured(brand, folder), _measured_steps(steps), candidate.change
        )

    def _measured(self, brand: str, folder: str) -> quality.Measures:
        folder_path = quality.BRANDS[brand] / folder
        if folder_path not in self._measures:
            self._measures[folder_path] = quality.measures(self.session, self.config, folder_path)
        return self._measures[folder_path]


def _tuned(steps: int, rate: float) -> Recipe:
    """The reference with a rate for this model, and the four images of a step at once."""
    return Recipe(steps, training.preset("lumora", 0, 1).lora_rank, rate, batch=4, accumulated=1)


def _end(points: list[Point]) -> dict[str, Any]:
    """Where a training ended, and the way there: steps, seconds, loss."""
    curve = [(point.steps, round(point.seconds, 2), round(point.loss, 5)) for point in points]
    return {key: round(value, 5) for key, value in asdict(points[-1]).items()} | {"curve": curve}


def _measured_steps(steps: int) -> range:
    return range(MEASURE_EVERY, steps, MEASURE_EVERY)


def _against(mine: list[Point], goal: Point) -> dict[str, Any]:
    """Our end beside theirs; ``reached_at`` is when we passed their loss, in seconds, None if never."""
    end = mine[-1]
    return {
        "loss_ratio": round(end.loss / goal.loss, 4),
        "distance_ratio": round(end.distance / goal.distance, 4),
        "time_ratio": round(end.seconds / goal.seconds, 4),
        "reached_at": next((round(point.seconds, 2) for point in mine if point.loss <= goal.loss), None),
    }


def _means(ends: list[Point]) -> dict[str, float]:
    """Means over brands and seeds."""
    return {key: statistics.fmean(getattr(end, key) for end in ends) for key in ("loss", "distance", "seconds")}


def _beside(ends: list[Point], plain: list[Point]) -> dict[str, float]:
    """The mean of each end's measure as a share of the plain one's, and how far these shares are apart."""
    result = {}
    for key in ("loss", "distance", "seconds"):
        shares = [getattr(one, key) / getattr(other, key) for one, other in zip(ends, plain, strict=True)]
        result |= {f"{key}_share": statistics.fmean(shares), f"{key}_spread": statistics.pstdev(shares)}
    return result


def _readable(report: dict[str, Any]) -> str:
    """The rows as a table, then a summary."""
    rows = [line for value in report.values() if isinstance(value, list) for row in value for line in _lines(row)]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [keys, *([_text(row.get(key, "")) for key in keys] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    table = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(table + [f"{key}: {value}" for key, value in report.items() if not isinstance(value, list)])


def _lines(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row of the report as lines of a table: one for each training in it."""
    trainings = {key: value for key, value in row.items() if isinstance(value, dict)}
    common = {key: value for key, value in row.items() if key not in trainings}
    for who, values in (trainings or {"": {}}).items():
        line = {**common, "who": who, **values} if who else common
        yield {key: value for key, value in line.items() if key != "curve"}


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
