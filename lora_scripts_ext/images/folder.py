"""The images of a folder and its sub-folders, in one order on every system."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from .. import file_name
from ..errors import UserError
from . import kinds
from .skipped import Skipped

#: what systems put beside images: the second halves of files from a Mac, thumbnails of a Synology.
SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir"})
_ICLOUD = ".icloud"


def scan(root: Path, key: str, leave_out: Iterable[Path] = ()) -> tuple[list[str], list[Skipped]]:
    """Names of all images under ``root``, relative to it with forward slashes, sorted; and what was skipped.

    Hidden files and folders (``.thumbnails``, ``._a.jpg``), what systems add (``__MACOSX``, ``Thumbs.db``) and the
    ``leave_out`` folders strictly inside ``root`` are passed over in silence. Everything else that looks like an image
    is among the names or reported as skipped: formats that are not read, links that lead out of ``root``, links to
    folders, names that are not text.

    Args:
        root: the folder.
        key: the config key that names it, for errors.
        leave_out: folders that are no part of the dataset, such as the cache.

    Raises:
        UserError: ``root`` is not a folder.
    """
    if file_name.too_long(str(root)):
        raise UserError(f"{key}: the path {file_name.too_long(str(root))} is too long for a file system; check it.")
    if not root.is_dir():
        if root.is_file():
            raise UserError(f"{key}: {root} is a file; name the folder that the images are in.")
        raise UserError(f"{key}: there is no folder {root}; check the path.")
    ignored = {_resolved(folder) for folder in leave_out}
    image_filter = _ImageFilter(root, key)
    names: list[str] = []
    skipped: list[Skipped] = []

    def unreadable(error: OSError) -> None:
        skipped.append(
            Skipped(image_filter.name(error.filename), f"is a folder that cannot be read ({error.strerror})")
        )

    for folder, below, files in os.walk(root, onerror=unreadable):
        here = Path(folder)
        below[:] = [name for name in below if not _passed_over(name)]
        skipped += [
            Skipped(image_filter.name(here / name), "is a link to a folder; copy the folder instead")
            for name in below
            if (here / name).is_symlink()
        ]
        below[:] = [name for name in below if _resolved(here / name) not in ignored]
        for path, reason in image_filter.at(here, files):
            if reason is None:
                names.append(image_filter.name(path))
            else:
                skipped.append(Skipped(image_filter.name(path), reason))
    return sorted(names), sorted(skipped, key=lambda one: one.name)


def inside(root: Path, name: str) -> Path | None:
    """The file of the image that :func:`scan` calls ``name``; None where it could not be among them."""
    # Of Windows also another drive, and what is hidden behind a file's name.
    odd = "\0" in name or (os.name == "nt" and set(name) & set("\\:"))
    parts = PurePosixPath(name).parts
    if odd or not parts or parts[0] == "/" or any(part.startswith(".") or _passed_over(part) for part in parts):
        return None
    path = root / name
    try:
        real = path.resolve()
        there = real.is_relative_to(root.resolve()) and real.is_file()
    except (OSError, RuntimeError):
        return None
    return path if there and _kind(path, path.suffix.lower()) is None else None


def no_images(key: str, root: Path, skipped: Sequence[Skipped]) -> UserError:
    """The error to raise where no image is left to work on."""
    if not skipped:
        return UserError(f"{key}: there is no image in {root}; put some there (jpg, png, webp, avif, heic, tiff).")
    first = skipped[0]
    return UserError(f"{key}: no image in {root} can be used; for example {first.name} {first.reason}.")


def stem(name: str) -> str:
    """``name`` without its extension."""
    return name[: -len(Path(name).suffix)] if Path(name).suffix else name


class _ImageFilter:
    """Separates images from other files under ``root``, which the config calls ``key``."""

    def __init__(self, root: Path, key: str) -> None:
        self._root = root
        self._home = _resolved(root)
        self._key = key

    def at(self, folder: Path, files: Iterable[str]) -> Iterator[tuple[Path, str | None]]:
        """The images among ``files`` of ``folder``, each with the reason why it is not taken, or None."""
        for file in files:
            path = folder / file
            if _passed_over(file):
                if _waits_in_icloud(file):
                    yield path, "is in iCloud alone; download it in the Finder"
            elif (reason := self._reason(path)) is None or reason:
                yield path, reason

    def name(self, path: Path | str) -> str:
        """The path relative to the root, with bytes that are not text spelt out."""
        return Path(path).relative_to(self._root).as_posix().encode("utf-8", "backslashreplace").decode()

    def _reason(self, path: Path) -> str | None:
        """Why a file is not taken; empty where it is no image, None where it is one to take."""
        extension = path.suffix.lower()
        if path.is_symlink():
            left = self._left(path, extension)
            if left is not None:
                return left
        reason = _kind(path, extension)
        if reason is None and not file_name.is_text(path.relative_to(self._root).as_posix()):
            return "has a name that is not UTF-8; rename it, or give the zip it came from to prepare_dataset.py"
        return reason

    def _left(self, link: Path, extension: str) -> str | None:
        """Why a link is not followed; empty where it is of no image, None where it may be."""
        target = _resolved(link)
        of_image = extension in kinds.EXTENSIONS or target.suffix.lower() in kinds.EXTENSIONS
        if not target.is_relative_to(self._home):
            return f"is a link that leaves {self._key}; copy the image instead" if of_image else ""
        if not link.exists():
            return "is a link to a file that is not there; copy the image instead" if of_image else ""
        return None


def _kind(path: Path, extension: str) -> str | None:
    """Why a file is not taken, by extension or else by its first bytes; empty where it is no image, None if taken."""
    if extension in kinds.EXTENSIONS:
        return None
    if refusal := kinds.refusal(extension):
        return refusal
    if not kinds.may_hide_an_image(extension) or not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            head = file.read(kinds.HEAD)
    except OSError:
        return ""
    return of_unknown_extension(extension, head, otherwise="")


def of_unknown_extension(extension: str, head: bytes, otherwise: str) -> str | None:
    """Why a file is not taken whose extension says nothing and that begins with ``head``; None where it is taken.

    An image without an extension is taken; ``otherwise`` is returned for what is no image.
    """
    kind = kinds.of_content(head) if kinds.may_hide_an_image(extension) else None
    if kind is None:
        return otherwise
    if kinds.is_reason(kind):
        return kind
    return (
        f"holds an image ({kind}) under the extension {extension}, which is not read; rename it" if extension else None
    )


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name in SYSTEM_FOLDERS


def _waits_in_icloud(name: str) -> bool:
    return name.endswith(_ICLOUD) and Path(name.removesuffix(_ICLOUD)).suffix.lower() in kinds.EXTENSIONS


def _resolved(path: Path) -> Path:
    """Where a path leads; a link that leads to itself leads nowhere."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()
