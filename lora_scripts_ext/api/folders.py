"""The server's folders, of which one can be chosen as that of a model's images."""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Query

from ..errors import NotFound, Refused, UserError
from ..file_name import is_text
from ..images.kinds import EXTENSIONS
from ..jobs.environment import Environment, is_network
from . import server_schemas as schemas
from .route import reads_files
from .service import Service

_MOST_FOLDERS = 500
_COUNTED = 1000
# Of a folder with more files than that only the first are looked at.
_MOST_ENTRIES = 100_000
# A network drive may be slow: after that images are not counted any more.
_COUNTING_SECONDS = 2.0
_HIDDEN = stat.FILE_ATTRIBUTE_HIDDEN
_DIGITS = re.compile(r"(\d+)")


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""

    @router.get("/folders", tags=["system"], response_model=schemas.Folder, summary="Look for a folder of images")
    @reads_files
    def get_folder(
        path: str = Query("", max_length=4000, description="Of the server; without it: where to begin."),
    ) -> dict[str, Any]:
        """What users may choose from; hidden folders and links that lead elsewhere are left out."""
        return listed(service.environment, path) if path.strip() else beginnings(service.environment)


def beginnings(environment: Environment) -> dict[str, Any]:
    """The folders that a user may begin at, ready for JSON."""
    roots = environment.roots() or [*_usual(), environment.data_dir.absolute()]
    paths = [path for path in dict.fromkeys(roots) if path.is_dir()]
    folders = [_view(path, time.monotonic() + _COUNTING_SECONDS) for path in paths]
    return {"path": "", "name": "", "parent": None, "folders": folders, "images": 0, "more": False}


def listed(environment: Environment, path: str) -> dict[str, Any]:
    """The folders in ``path``, ready for JSON.

    Raises:
        Refused: it may not be read, or cannot.
        NotFound: it is no folder.
    """
    folder = _readable(environment, path.strip())
    names, images, more = _entries(folder)
    names.sort(key=_natural)
    until = time.monotonic() + _COUNTING_SECONDS
    folders: list[dict[str, Any]] = []
    for name in names:
        if len(folders) == _MOST_FOLDERS:
            more = True
            break
        if _may_read(environment, folder / name):
            folders.append(_view(folder / name, until))
    parent = folder.parent
    has_parent = parent != folder and _may_read(environment, parent)
    return {
        "path": str(folder), "name": folder.name or str(folder), "parent": str(parent) if has_parent else None,
        "folders": folders, "images": images, "more": more,
    }  # fmt: skip


def _usual() -> list[Path]:
    """Where someone begins to look who may read everything."""
    found = [Path(os.path.expanduser("~")), Path.cwd()]  # noqa: PTH111 - pathlib fails where there is no home
    if sys.platform == "win32":
        found += [Path(f"{letter}:\\") for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    return found


def _readable(environment: Environment, path: str) -> Path:
    # Windows would log in at the other machine, whoever has made a browser ask for it.
    if is_network(path) and not any(is_network(str(root)) for root in environment.roots()):
        raise Refused(f"path: {path[:200]} lies on a network share, which is not listed; give it a drive letter.")
    try:
        return environment.readable(path)
    except UserError as error:
        raise Refused(f"path: {error}") from error
    except (OSError, RuntimeError) as error:
        # Links that lead round in a circle, for one.
        raise Refused(f"path: {path[:200]} cannot be followed; choose another folder.") from error


def _may_read(environment: Environment, path: Path) -> bool:
    try:
        environment.readable(str(path))
    except (UserError, OSError, RuntimeError):
        return False
    return True


def _entries(folder: Path) -> tuple[list[str], int, bool]:
    """Names of the folders in ``folder``, the number of its images, and whether it has more than were looked at.

    Raises:
        Refused: it cannot be read.
        NotFound: it is not there.
    """
    names, images = list[str](), 0
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number == _MOST_ENTRIES:
                    return names, images, True
                if _is_shown(entry):
                    names.append(entry.name)
                images += _is_image(entry.name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"path: there is no folder {folder}; choose another.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no file has such a name"
        raise Refused(f"path: {folder} cannot be read ({reason}); choose another folder.") from error
    return names, images, False


def _is_shown(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder that is not hidden, and that a model can have as its own."""
    if entry.name.startswith(".") or not is_text(entry.name):
        return False
    try:
        return entry.is_dir() and not (sys.platform == "win32" and entry.stat().st_file_attributes & _HIDDEN)
    except OSError:
        return False


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith(".")  # noqa: PTH122 - many names


def _view(path: Path, until: float) -> dict[str, Any]:
    return {"path": str(path), "name": path.name or str(path), "images": _count(path, until)}


def _count(folder: Path, until: float) -> int | None:
    """Images among the first files of ``folder``; None where it cannot be read, or after ``until``."""
    if time.monotonic() > until:
        return None
    try:
        with os.scandir(folder) as entries:
            return sum(_is_image(entry.name) for entry, _ in zip(entries, range(_COUNTED), strict=False))
    except OSError:
        return None


def _natural(name: str) -> list[tuple[int, str]]:
    """By which names are sorted as people do: ``2`` before ``10``, case does not count."""
    parts = _DIGITS.split(name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts if part]
