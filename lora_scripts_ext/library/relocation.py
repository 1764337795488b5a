"""Paths of a library that now lies elsewhere, perhaps on another system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Relocation:
    """Where files were, and where they are now."""

    def __init__(self, moves: Sequence[tuple[str, Path]], windows: bool) -> None:
        """Take the moves.

        Args:
            moves: absolute paths of files and folders, and where what they hold is now.
            windows: whether the old paths are those of Windows, where case and the kind of slash do not count.
        """
        self._windows = windows
        parts = [(self._parts(old), new) for old, new in moves]
        # What is inside of another one goes its own way.
        self._moves = sorted(parts, key=lambda move: -len(move[0]))

    def path(self, text: str) -> str:
        """``text``, or where it leads now if it is the path of something that has moved."""
        parts = self._parts(text)
        for old, new in self._moves:
            if parts[: len(old)] == old:
                return str(new.joinpath(*self._split(text)[len(old) :]))
        return text

    def tree(self, value: Any) -> Any:
        """A value of JSON with the paths in it, as the values of its keys or in lists."""
        if isinstance(value, str):
            return self.path(value)
        if isinstance(value, dict):
            return {key: self.tree(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.tree(item) for item in value]
        return value

    def _split(self, text: str) -> list[str]:
        return (text.replace("\\", "/") if self._windows else text).rstrip("/").split("/")

    def _parts(self, text: str) -> list[str]:
        parts = self._split(text)
        return [part.casefold() for part in parts] if self._windows else parts
