"""What the events of a job come to: how far it is, its loss curve, its previews, its warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import json_text
from . import event_log

_CURVE_POINTS = 400
_LISTS = {
    "held_out": "held_out",
    "preview": "previews",
    "checkpoint": "checkpoints",
    "skipped": "skipped",
    "warning": "warnings",
}


class Report:
    """The state that events lead to. Not safe for several threads."""

    def __init__(self) -> None:
        #: the newest figures, each by the name that its event has for it, and ``phase``: ``preparing`` or ``training``
        self.progress: dict[str, Any] = {}
        #: how many pieces of work are done: steps of a training, images of anything else
        self.step = 0
        self._losses: list[tuple[int, float]] = []
        self._lists: dict[str, list[Any]] = {name: [] for name in _LISTS.values()}

    def add(self, event: dict[str, Any]) -> None:
        """Take in the next event."""
        kind = event.get("event")
        fields = {key: value for key, value in event.items() if key not in ("event", "time", "attempt")}
        if kind == "prepare":
            self.progress |= {"phase": "preparing", "prepare": fields}
        elif kind == "work":
            self.progress |= {"phase": "working", "prepare": fields}
            self.step = max(self.step, int(fields["done"]))
        elif kind == "drawing" and fields["done"] < fields["total"]:
            self.progress |= {"prepare": {**fields, "what": "previews"}}
        elif kind == "drawing":
            self.progress.pop("prepare", None)
        elif kind == "start":
            self._begin(fields)
        elif kind == "step":
            self._add_step(fields)
        elif kind in ("ended_early", "suggested"):
            self.progress[kind] = fields
        elif kind in _LISTS:
            self._lists[_LISTS[kind]].append(fields["text"] if kind == "warning" else fields)

    def to_dict(self) -> dict[str, Any]:
        """Figures, lists and curve, ready for JSON: a number that is not finite is None.

        ``curve`` holds [step, loss] in at most 400 points, each the mean of its steps.
        """
        lists = {name: list(items) for name, items in self._lists.items()}
        whole: dict[str, Any] = json_text.finite({**self.progress, **lists, "curve": _thinned(self._losses)})
        return whole

    def _begin(self, fields: dict[str, Any]) -> None:
        """A training starts, or resumes from a saved state: what lies behind that is done again."""
        step = int(fields["step"])
        self._losses = [point for point in self._losses if point[0] <= step]
        for name in ("held_out", "previews", "checkpoints"):
            self._lists[name] = [one for one in self._lists[name] if one.get("step", 0) <= step]
        if not step:
            self._lists = {name: [] if name != "skipped" else items for name, items in self._lists.items()}
        # Only for who looks at the run's own log later.
        fields.pop("base_model", None)
        self.progress |= {"phase": "training", **fields}
        self.progress.pop("prepare", None)

    def _add_step(self, fields: dict[str, Any]) -> None:
        self.step = max(self.step, int(fields["step"]))
        self.progress |= fields
        self.progress.pop("prepare", None)
        if json_text.finite(fields["loss"]) is not None:
            self._losses.append((fields["step"], fields["loss"]))


class Follower:
    """The report of a job's event file, read on from where the last look ended."""

    def __init__(self, path: Path) -> None:
        self.report = Report()
        self._path = path
        self._offset = 0

    def update(self) -> Report:
        """The report as of now."""
        for line in event_log.read(self._path, self._offset):
            self.report.add(line.event)
            self._offset = line.end
        return self.report


def _thinned(losses: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most ``_CURVE_POINTS`` points, each the last step and the mean loss of its share."""
    width = -(-len(losses) // _CURVE_POINTS) or 1
    shares = [losses[start : start + width] for start in range(0, len(losses), width)]
    return [(share[-1][0], sum(loss for _, loss in share) / len(share)) for share in shares]
