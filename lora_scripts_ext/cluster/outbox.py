"""What a job has changed in its folders on a node, kept as it was at one moment until the worker has fetched it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .roots import Root, names

# Written whole and then renamed, so that a second name for the same bytes stays as it is. Others are copied.
_NEVER_CHANGED = (".safetensors", ".png", ".jpg", ".jpeg", ".webp", ".zip")

#: a file, by the number of its root and its name there
Name = tuple[int, str]


@dataclass(frozen=True)
class Delivery:
    """The way from one state of the folders to the next.

    Attributes:
        changed: size in bytes of every new or changed file.
        moved: new files that are old ones under another name, which is the second.
        removed: files that are gone.
    """

    number: int
    changed: dict[Name, int]
    moved: dict[Name, Name]
    removed: list[Name]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "number": self.number,
            "changed": [[*name, size] for name, size in self.changed.items()],
            "moved": [[*new, *old] for new, old in self.moved.items()],
            "removed": [list(name) for name in self.removed],
        }


class Outbox:
    """At most two deliveries: the one being fetched, and what has changed since. Methods are called by two threads."""

    def __init__(self, roots: Sequence[Root], work: Path) -> None:
        """Take what lies in the written ``roots`` now as known to the worker; ``work``: the job's working folder."""
        self._roots = [(number, root) for number, root in enumerate(roots) if root.written]
        self._work = work
        self._folder = work / "outbox"
        self._lock = threading.Lock()
        self._number = 0
        self._known = self._listing()
        self._open: list[tuple[Delivery, dict[Name, str]]] = []

    def add(self) -> int:
        """Keep the folders as they are at this moment, in place of what is not being fetched yet.

        Returns:
            The number of the delivery that completes them; those before are of earlier moments.
        """
        with self._lock:
            for late, _ in self._open[1:]:
                self._forget(late)
            del self._open[1:]
            base = self._open[0][1] if self._open else self._known
            self._number += 1
            listing = self._listing()
            delivery = self._delivery(base, listing)
            if delivery.changed or delivery.moved or delivery.removed:
                self._open.append((delivery, listing))
            return self._number

    def first(self) -> Delivery | None:
        """What is to be fetched next."""
        with self._lock:
            return self._open[0][0] if self._open else None

    def fetched(self, number: int) -> None:
        """The worker has all of this delivery."""
        with self._lock:
            if self._open and self._open[0][0].number == number:
                delivery, self._known = self._open.pop(0)
                self._forget(delivery)

    def read(self, number: int, name: Name, offset: int, count: int) -> bytes:
        """``count`` bytes of a file of a delivery."""
        with self._kept(number, name).open("rb") as file:
            file.seek(offset)
            return file.read(count)

    def _listing(self) -> dict[Name, str]:
        """For every file what tells it from another of the same name."""
        found = {}
        for number, root in self._roots:
            folder = root.on_node(self._work)
            for name in names(folder, root.only, [str(folder / one) for one in root.ignored]):
                state = (folder / name).stat()
                found[number, name] = f"{state.st_ino}-{state.st_mtime_ns}-{state.st_size}"
        return found

    def _delivery(self, base: dict[Name, str], listing: dict[Name, str]) -> Delivery:
        before = {token: name for name, token in base.items()}
        changed, moved = dict[Name, int](), dict[Name, Name]()
        for name, token in listing.items():
            if base.get(name) == token:
                continue
            if token in before:
                moved[name] = before[token]
            else:
                changed[name] = self._keep(name)
        return Delivery(self._number, changed, moved, [name for name in base if name not in listing])

    def _keep(self, name: Name) -> int:
        """Keep a file as it is now; returns its size."""
        path, kept = self._path(name), self._kept(self._number, name)
        kept.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in _NEVER_CHANGED:
            os.link(path, kept)
        else:
            shutil.copyfile(path, kept)
        return kept.stat().st_size

    def _path(self, name: Name) -> Path:
        return dict(self._roots)[name[0]].on_node(self._work) / name[1]

    def _kept(self, number: int, name: Name) -> Path:
        return self._folder / str(number) / str(name[0]) / name[1]

    def _forget(self, delivery: Delivery) -> None:
        shutil.rmtree(self._folder / str(delivery.number), ignore_errors=True)
