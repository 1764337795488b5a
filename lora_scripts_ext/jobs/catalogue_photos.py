"""Photos that were sent along with a product list: kept beside it, and found under the paths that the list names."""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from .. import file_name, files
from ..errors import UserError
from ..images import folder as image_folder
from ..images import kinds
from ..images.skipped import Skipped
from ..preparation import archive
from ..preparation.archive import Unpacked

#: beside photos: what a folder of photos says of each
_TEXT = ".txt"
_ARCHIVE = ".zip"
_NO_PHOTO = "is no photo; a product list is sent by itself"


def take(file: Path, name: str, into: Path) -> Unpacked:
    """Put a photo that was sent, or those of a zip, into ``into``; one of the same name is replaced.

    Args:
        file: as it has come.
        name: of it, which may hold folders.
        into: folder of the list; created.

    Raises:
        UserError: nothing in it can be taken.
    """
    try:
        with files.temporary_folder(into) as temporary:
            if file.suffix.lower() == _ARCHIVE:
                taken = archive.unpack(file, temporary)
            else:
                taken = Unpacked([_one(file, name, temporary)], [])
            return _moved(taken, temporary, into)
    except UserError as error:
        # Where it lies for the moment means nothing to who has sent it.
        raise type(error)(str(error).replace(str(file), file.name)) from error
    except OSError as error:
        reason = "the disk is full; free some space there" if error.errno == errno.ENOSPC else f"{error.strerror}"
        raise UserError(f"{file.name}: it cannot be kept on the server ({reason}).") from error


def place(folder: Path, wanted: Iterable[Path]) -> None:
    """Let photos in ``folder`` be found where a list names them: a list may name other folders than they were sent in.

    A photo is the one that is meant if its path ends with all of the wanted one, or if it alone has the name and only
    one path wants that.
    """
    sent, _ = image_folder.scan(folder, "photos")
    by_name: dict[str, list[str]] = defaultdict(list)
    for one in sent:
        by_name[_plain(PurePosixPath(one).name)].append(one)
    inside = {path for path in wanted if path.is_relative_to(folder) and ".." not in path.parts}
    names = defaultdict[str, int](int)
    for path in inside:
        names[_plain(path.name)] += 1
    for path in sorted(path for path in inside if not path.is_file()):
        written = _plain(path.relative_to(folder).as_posix())
        alike = by_name[_plain(path.name)]
        whole = [one for one in alike if _plain(one).endswith(f"/{written}")]
        meant = whole if whole or names[_plain(path.name)] > 1 else alike
        if len(meant) == 1:
            files.copy(folder / meant[0], path)


def _one(file: Path, name: str, temporary: Path) -> str:
    """The single photo, copied; its name."""
    kept = file_name.relative(name)
    if kept is None:
        raise UserError(f"name: {name[:80]} leads out of the folder of the list; send it by its own name.")
    with file.open("rb") as opened:
        reason = archive.refusal(file.name, opened.read(kinds.HEAD))
    if reason is None and not _is_kept(kept):
        reason = _NO_PHOTO
    if reason:
        raise UserError(f"{file.name} {reason}. Nothing was taken in.")
    files.copy(file, temporary / kept)
    return kept


def _moved(taken: Unpacked, temporary: Path, into: Path) -> Unpacked:
    names, skipped = [], list(taken.skipped)
    for name in taken.names:
        reason = _move(temporary / name, into / name) if _is_kept(name) else _NO_PHOTO
        if reason:
            skipped.append(Skipped(name, reason))
        else:
            names.append(name)
    if not names:
        raise UserError(f"{skipped[0].name} {skipped[0].reason}. Nothing was taken in.")
    return Unpacked(names, skipped)


def _move(source: Path, path: Path) -> str:
    """Put a file in its place; returns why that cannot be, empty where it is there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        source.replace(path)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        return "lies in a folder that has the name of a file"
    return ""


def _is_kept(name: str) -> bool:
    """Whether a file is a photo, or the text beside one, and not a list."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix == _TEXT or not archive.is_text(name)


def _plain(name: str) -> str:
    return file_name.alike(name)
