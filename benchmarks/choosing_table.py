"""What ``choosing.py`` has measured, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from statistics import mean
from typing import Any

from lora_scripts_ext.evaluation.suggestion import Point, suggest

Figures = dict[str, Any]
_COMPARED = ("last", "average 3", "ema 0.98")


def distances(runs: dict[str, Figures]) -> Iterator[str]:
    """Distances to the brand: of the suggested checkpoint, the best, the last and what else was tried; then what each
    is on average, and what stopping early comes to."""
    whole = {name: one for name, one in sorted(runs.items()) if _is_whole(one)}
    rows = [_row(name, figures) for name, figures in whole.items()]
    yield from _markdown(rows)
    for key in ("chosen", *_COMPARED):
        there = [row for row in rows if key in row]
        shares = [row[key] / row["best"] for row in there]
        yield (
            f"{key}: {mean(shares):.3f} of the best on average, {max(shares):.3f} at worst; "
            f"{sum(share <= 1.1 for share in shares)} of {len(shares)} within 10 %; "
            f"{sum(row[key] < row['chosen'] for row in there)} nearer than the chosen; "
            f"{sum(row[key] > row['untrained'] for row in there)} above the untrained"
        )
    for patience in (1, 2, 3):
        shares, ratios = zip(*(_stopped(figures, patience) for figures in whole.values()), strict=True)
        yield (
            f"patience {patience}: {mean(shares):.2f} of the checkpoints trained, the best at {mean(ratios):.3f} "
            f"of the chosen's distance, {max(ratios):.3f} at worst"
        )
    yield from _strengths(whole)


def draws(runs: dict[str, Figures]) -> Iterator[str]:
    """How far fewer draws are from all draws together: the loss, the difference of two checkpoints, their order."""
    rows = []
    for name, figures in sorted(runs.items()):
        losses = [figures[key] for key in figures if key != "checkpoint None"]
        reference = [_of_all(one) for one in losses]
        for count in losses[0]:
            choices = [[mean(one) for one in choice] for choice in zip(*(one[count] for one in losses), strict=True)]
            rows.append({"run": name, "draws": count, "choices": len(choices)} | _beside(choices, reference))
    return _markdown(rows, digits=4)


def _beside(choices: list[list[float]], reference: list[float]) -> dict[str, float]:
    """Losses by several choices of draws, [choice][checkpoint], beside those by all: shares of the lowest of these."""
    lowest, pairs = min(reference), list(combinations(range(len(reference)), 2))
    both = [(some[i] - some[j], reference[i] - reference[j]) for some in choices for i, j in pairs]
    levels = [abs(one / other - 1) for some in choices for one, other in zip(some, reference, strict=True)]
    return {
        "level off": mean(levels),
        "difference off": mean(abs(one - other) / lowest for one, other in both),
        "pairs in order": mean(float((one < 0) == (other < 0)) for one, other in both),
        "lost by picking": max(reference[some.index(min(some))] / lowest - 1 for some in choices),
    }


def _of_all(choices: dict[str, list[list[float]]]) -> float:
    """The mean over the images and all draws."""
    total = sum(int(count) * len(some) for count, some in choices.items())
    return sum(int(count) * mean(one) for count, some in choices.items() for one in some) / total


def _is_whole(figures: Figures) -> bool:
    return "run" in figures and all(f"checkpoint {epoch}" in figures for epoch in figures["run"]["checkpoints"])


def _row(name: str, figures: Figures) -> dict[str, Any]:
    brand, seed = name.rsplit("-", 1)
    names = [f"checkpoint {epoch}" for epoch in figures["run"]["checkpoints"]]
    suggested = suggest(_points(figures), mean(figures["base"]["losses"]))
    assert suggested is not None
    distances = [_distance(figures[one]) for one in names]
    row = {
        "brand": brand,
        "seed": seed,
        "untrained": _distance(figures["base"]),
        "best": min(distances),
        "best at": figures["run"]["checkpoints"][distances.index(min(distances))],
        "chosen": _distance(figures[suggested.checkpoint]),
        "chosen at": int(suggested.checkpoint.split()[1]),
        "last": distances[-1],
        "epochs": figures["run"]["epochs"],
        "untrained, object": _on_object(figures["base"]),
        "chosen, object": _on_object(figures[suggested.checkpoint]),
    }
    return row | {key: _distance(figures[key]) for key in _COMPARED if key in figures}


def _points(figures: Figures) -> list[Point]:
    """The checkpoints at strength 1."""
    epochs = figures["run"]["checkpoints"]
    return [Point(name := f"checkpoint {epoch}", epoch, mean(figures[name]["losses"]), epoch) for epoch in epochs]


def _stopped(figures: Figures, patience: int) -> tuple[float, float]:
    """Stopped after so many checkpoints without gain: the share of them that were trained, and the distance of the best
    by held-out loss as a share of that of the best of all."""
    points = _points(figures)
    lowest = [min(range(end), key=lambda number: points[number].loss) for end in range(1, len(points) + 1)]
    count = next((end for end, best in enumerate(lowest, 1) if end - 1 - best >= patience), len(points))
    early, late = (min(some, key=lambda point: point.loss).checkpoint for some in (points[:count], points))
    return count / len(points), _distance(figures[early]) / _distance(figures[late])


def _distance(point: dict[str, Any]) -> float:
    """The demo's: on the object and around it count alike."""
    return mean(mean(one) for one in point["distance"])


def _on_object(point: Figures) -> float:
    return mean(on for on, _ in point["distance"])


def _strengths(runs: dict[str, Figures]) -> Iterator[str]:
    """Loss and distance of a checkpoint at other strengths, as shares of those at 1."""
    for name, figures in runs.items():
        for key, point in figures.items():
            checkpoint, _, strength = key.partition(" at ")
            if strength:
                loss = mean(point["losses"]) / mean(figures[checkpoint]["losses"])
                distance = _distance(point) / _distance(figures[checkpoint])
                yield f"{name}, {checkpoint} at {strength}: loss {loss:.3f}, distance {distance:.3f} of those at 1"


def _markdown(rows: list[dict[str, Any]], digits: int = 3) -> Iterator[str]:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    yield "| " + " | ".join(keys) + " |"
    yield "|" + " --- |" * len(keys)
    for row in rows:
        cells = (row.get(key, "") for key in keys)
        yield "| " + " | ".join(f"{one:.{digits}f}" if isinstance(one, float) else str(one) for one in cells) + " |"
