"""Images by the names that other programs gave them: another disk's path, no folder, no extension, other accents."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from .columns import looks_like_image

_DRIVE = re.compile(r"^(?:[A-Za-z]:|[A-Za-z][\w+.-]+:/|/)")


class Index:
    """Image names, found in spite of case and of composed or decomposed accents (macOS)."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take the images' names, relative to their folder with forward slashes."""
        names = list(names)
        self._exact = frozenset(names)
        self._alike = _grouped(names, plain)
        self._bare = _grouped(names, lambda name: plain(_last(name)))
        self._stems = _grouped(names, lambda name: plain(stem(name)))
        self._bare_stems = _grouped(names, lambda name: plain(_last(stem(name))))

    def find(self, name: str) -> str | None:
        """The image of that name, or None; a name without an extension may stand for the one image that has it."""
        if name in self._exact:
            return name
        alike = self._alike.get(plain(name), [])
        if not alike and not looks_like_image(name):
            alike = self._stems.get(plain(name), [])
        return alike[0] if len(alike) == 1 else None

    def near(self, written: str) -> list[str]:
        """The images that a path of another place may mean: those with all of its folders, or whose own folders it ends
        with. A name without folders means images of that name in any folder, and so does a path of another disk that
        has no better one."""
        path = _parts(written)
        if not path or ".." in path:
            return []
        has_extension = looks_like_image(written)
        matching = (self._bare if has_extension else self._bare_stems).get(plain(path[-1]), [])
        best = [name for name in matching if _same_end(path, (name if has_extension else stem(name)).split("/"))]
        return best or (matching if is_elsewhere(written) else [])


def candidates(written: str, bases: Sequence[Path], root: Path) -> list[str]:
    """The names relative to ``root`` that a row may mean; none when each of them leaves ``root``."""
    home = os.path.join(os.path.abspath(root), "")  # noqa: PTH100, PTH118 - tables have tens of thousands of rows
    names = []
    for base in bases:
        path = os.path.normpath(os.path.join(os.path.abspath(base), written.replace("\\", "/")))  # noqa: PTH100, PTH118
        if os.path.normcase(path).startswith(os.path.normcase(home)):
            names.append(path[len(home) :].replace(os.sep, "/"))
    return names


def is_elsewhere(written: str) -> bool:
    """Whether a path is absolute, on this system or on another."""
    return _DRIVE.match(written.replace("\\", "/")) is not None


def _parts(written: str) -> tuple[str, ...]:
    plain = _DRIVE.sub("", written.replace("\\", "/"))
    return tuple(part for part in plain.split("/") if part not in ("", "."))


def _same_end(written: Sequence[str], name: Sequence[str]) -> bool:
    """Whether all parts of one of them are the last ones of the other."""
    count = min(len(written), len(name))
    return list(map(plain, written[-count:])) == list(map(plain, name[-count:]))


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _grouped(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


def stem(name: str) -> str:
    """A name without its extension."""
    dot = name.rfind(".")
    return name[:dot] if name.rfind("/") + 1 < dot < len(name) - 1 else name


def plain(name: str) -> str:
    """A name without differences of case and of how accents are composed."""
    return unicodedata.normalize("NFC", name).casefold()
