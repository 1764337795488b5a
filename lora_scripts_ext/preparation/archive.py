"""Images out of a zip file that somebody sent, without trusting a word of it."""

from __future__ import annotations

import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .. import file_name, files
from ..errors import UserError
from ..images import folder, kinds
from ..images.folder import SYSTEM_FOLDERS
from ..images.kinds import EXTENSIONS
from ..images.skipped import Skipped
from ..parallel import Check, Progress

#: what is taken besides images: captions
_TEXTS = frozenset({".txt", ".caption", ".csv", ".tsv", ".json", ".jsonl"})
_ARCHIVES = frozenset({".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz"})
_MOST_FILES = 20_000
# Of photos, 20 GB are thousands; a single one has no use for more than 500 MB.
_MOST_BYTES = 20 << 30
_MOST_BYTES_A_FILE = 500 << 20
# Photos do not shrink; drawings and texts do, by a hundred at the very most.
_MOST_SHRUNK = 200
_CHUNK = 1 << 20
_ENCRYPTED = 0x1
_UTF8 = 0x800
# Pairs of bytes of the usual Chinese characters (GB 2312): no name in a Western code page looks like these.
_CHINESE = re.compile(rb"[\xb0-\xf7][\xa1-\xfe]")


@dataclass(frozen=True)
class Unpacked:
    """What came out: names relative to the folder, and what was left in with the reason."""

    names: list[str]
    skipped: list[Skipped]


def unpack(
    archive: Path,
    into: Path,
    *,
    progress: Progress = lambda done, total, what: None,
    check: Check = lambda: None,
) -> Unpacked:
    """Take images and captions out of a zip, into ``into`` and nowhere else; files that are there stay.

    Whatever the archive says of sizes is checked while reading. Every file is written whole or not at all; calling this
    again goes on.

    Raises:
        UserError: it is no zip, it is encrypted, it holds too much or nothing to train on.
    """
    if not archive.is_file():
        raise UserError(f"{archive}: there is no such file; check the path.")
    try:
        with zipfile.ZipFile(archive) as opened:
            return _unpack(opened, archive, into, progress, check)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, struct.error) as error:
        raise UserError(
            f"{archive}: this is not a zip file that can be read ({error}); make a new .zip of it."
        ) from error


def _unpack(opened: zipfile.ZipFile, archive: Path, into: Path, progress: Progress, check: Check) -> Unpacked:
    members = [one for one in opened.infolist() if not one.is_dir()]
    if len(members) > _MOST_FILES:
        raise UserError(f"{archive}: it holds {len(members)} files, at most {_MOST_FILES} are taken; split it.")
    if any(one.flag_bits & _ENCRYPTED for one in members):
        raise UserError(f"{archive}: it has a password; unpack it yourself and name the folder.")
    names: list[str] = []
    skipped: list[Skipped] = []
    used_names: set[str] = set()
    room = _MOST_BYTES
    for done, member in enumerate(members, 1):
        check()
        written = _name(member)
        try:
            name = _safe(written, member, used_names)
            if name is not None:
                _require_supported(opened, member, written)
                room -= _extract(opened, member, into / name, room)
                names.append(name)
        except _Refused as reason:
            skipped.append(Skipped(written, str(reason)))
        progress(done, len(members), "files")
    if not names:
        raise UserError(f"{archive}: there is no image in it that can be taken.")
    return Unpacked(names, skipped)


class _Refused(Exception):
    """A member is not taken; the text is the reason, to follow its name."""


def _name(member: zipfile.ZipInfo) -> str:
    """The member's name; Chinese Windows writes GBK without saying so, which Python reads as cp437."""
    if member.flag_bits & _UTF8 or member.filename.isascii():
        return member.filename
    try:
        content = member.filename.encode("cp437")
        chinese = content.decode("gb18030")
    except UnicodeError:
        return member.filename
    others = re.sub(rb"[\x00-\x7f]", b"", _CHINESE.sub(b"", content))
    return chinese if len(others) <= len(content) // 4 and _CHINESE.search(content) else member.filename


def _safe(written: str, member: zipfile.ZipInfo, used_names: set[str]) -> str | None:
    """Where the member goes, relative; None for what systems leave in archives."""
    if stat.S_ISLNK(member.external_attr >> 16):
        raise _Refused("is a link")
    parts = PurePosixPath(written.replace("\\", "/")).parts
    if any(part in SYSTEM_FOLDERS or (part.startswith(".") and part != "..") for part in parts):
        return None
    name = file_name.relative(written)
    if name is None:
        raise _Refused("has a path that leads out of the folder")
    alike = unicodedata.normalize("NFC", name).casefold()
    if alike in used_names:
        raise _Refused("has the name of another file in it")
    used_names.add(alike)
    return name


def _require_supported(opened: zipfile.ZipFile, member: zipfile.ZipInfo, written: str) -> None:
    """Refuse what is no image, by extension or else by content, and no caption."""
    head = b""
    if Path(written).suffix.lower() not in EXTENSIONS | _TEXTS:
        head = next(_chunks(opened, member, kinds.HEAD), b"")
    reason = refusal(written, head)
    if reason:
        raise _Refused(reason)


def is_text(name: str) -> bool:
    """Whether a file of this name would be taken as captions."""
    return Path(name).suffix.lower() in _TEXTS


def refusal(name: str, head: bytes) -> str | None:
    """Why a file of this name that begins with ``head`` is not taken; None for an image or a caption."""
    extension = Path(name).suffix.lower()
    if extension in EXTENSIONS | _TEXTS:
        return None
    if extension in _ARCHIVES:
        return "is an archive of its own; unpack it first"
    return kinds.refusal(extension) or folder.of_unknown_extension(extension, head, "is no image and no caption")


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, room: int) -> int:
    """Write a member; returns its bytes. One that is there already in that size is kept."""
    if path.is_file() and path.stat().st_size == member.file_size:
        return member.file_size
    if path.exists():
        raise _Refused("would replace another file of its name")
    most = min(room, _MOST_BYTES_A_FILE, max(_CHUNK, member.compress_size * _MOST_SHRUNK))
    try:
        with files.replacing(path) as temporary, temporary.open("wb") as out:
            size = 0
            for chunk in _chunks(opened, member):
                size += len(chunk)
                if size > most:
                    raise _Refused("is far larger than an image can be (a zip bomb?)")
                out.write(chunk)
    except (FileExistsError, NotADirectoryError) as error:
        raise _Refused("lies in a folder that has the name of a file") from error
    return size


def _chunks(opened: zipfile.ZipFile, member: zipfile.ZipInfo, size: int = _CHUNK) -> Iterator[bytes]:
    try:
        with opened.open(member) as packed:
            while chunk := packed.read(size):
                yield chunk
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise _Refused(f"is damaged ({error})") from error
