"""The pictures of a folder and its sub-folders, in one order on every system."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError
from .example import Skipped
from .picture import EXTENSIONS


def scan(root: Path, key: str, leave_out: Iterable[Path] = ()) -> tuple[list[str], list[Skipped]]:
    """Names of all pictures under ``root``, relative to it with forward slashes, sorted; and what was left out.

    Hidden files and folders, and the ``leave_out`` folders strictly inside ``root``, are passed over. Links that lead
    out of ``root`` and links to folders are reported as skipped.

    Args:
        root: the folder.
        key: the config key that names it, for errors.
        leave_out: folders that are no part of the set, such as the cache.

    Raises:
        UserError: ``root`` is not a folder.
    """
    if not root.is_dir():
        raise UserError(f"{key}: there is no folder {root}; check the path.")
    home = root.resolve()
    ignored = {folder.resolve() for folder in leave_out}
    names: list[str] = []
    skipped: list[Skipped] = []

    def unreadable(error: OSError) -> None:
        skipped.append(
            Skipped(_name(root, Path(error.filename)), f"is a folder that cannot be read ({error.strerror})")
        )

    for folder, below, files in os.walk(root, onerror=unreadable):
        here = Path(folder)
        for name in below:
            if not name.startswith(".") and (here / name).is_symlink():
                skipped.append(Skipped(_name(root, here / name), "is a link to a folder; copy the folder instead"))
        below[:] = [name for name in below if not name.startswith(".") and (here / name).resolve() not in ignored]
        for name in files:
            path = here / name
            if name.startswith(".") or path.suffix.lower() not in EXTENSIONS:
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                skipped.append(Skipped(_name(root, path), f"is a link that leaves {key}; copy the picture instead"))
            else:
                names.append(_name(root, path))
    return sorted(names), sorted(skipped, key=lambda one: one.name)


def mask_files(root: Path) -> dict[str, Path]:
    """Mask pictures under ``mask_dir``, by relative path without extension.

    Raises:
        UserError: ``root`` is not a folder.
    """
    names, _ = scan(root, "mask_dir")
    return {stem(name): root / name for name in reversed(names)}


def stem(name: str) -> str:
    """``name`` without its extension."""
    return name[: -len(Path(name).suffix)] if Path(name).suffix else name


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
