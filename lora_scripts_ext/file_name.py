"""File names that are valid on every system."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path, PurePosixPath

#: Bytes in UTF-8: file systems end at 255. A run appends up to 25 to its name (``-step00000100.safetensors``), and a
#: temporary or backup file a few more.
LONGEST = 200
#: Bytes in UTF-8 of the stem of an image that is written here.
LONGEST_STEM = 180
_LONGEST_SUFFIX = 20
_MARK = 8
_LONGEST_PART = 255
_EXTENSIONS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")

_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[\d¹²³]|lpt[\d¹²³]) *(?:\..*)?", re.I)
_FORBIDDEN = '<>:"/\\|?*'
# Also lone surrogates, which stand for bytes that are not text.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def is_text(text: str) -> bool:
    """Whether ``text`` can be part of a path and of a file in UTF-8: without NUL and bytes that were not decoded."""
    try:
        return b"\0" not in text.encode("utf-8")
    except UnicodeEncodeError:
        return False


def problem(name: str, also_forbidden: str = "") -> str | None:
    """Why ``name`` (without an extension) cannot be that of a LoRA on every system; None where it can."""
    if not name:
        return "it is empty"
    if name.startswith("."):
        return "a file name cannot start with a dot here"
    if _UNPRINTABLE.search(name):
        return "a file name cannot hold control characters or bytes that are not text"
    bad = set(name) & set(_FORBIDDEN + also_forbidden)
    if bad:
        return f"a file name cannot hold {' '.join(sorted(bad))}"
    if name[0] == " " or name[-1] in " .":
        return "a file name cannot begin with a space or end with a dot or space"
    if name.lower().endswith(_EXTENSIONS):
        return f"omit {Path(name).suffix}, the extension is added automatically"
    if _RESERVED.fullmatch(name):
        return f"Windows reserves the name {name.split('.')[0].strip()}; choose another"
    length = len(name.encode("utf-8"))
    if length > LONGEST:
        return f"it takes {length} bytes in UTF-8, at most {LONGEST} are allowed; use a shorter one"
    return None


def alike(name: str) -> str:
    """The same text for two names that Windows or macOS takes for the same: case and composed accents do not count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def too_long(path: str) -> str | None:
    """The part of ``path`` that is too long for file systems, truncated for a message; None where there is none."""
    parts = (part for part in Path(path).parts if len(part.encode("utf-8", "surrogatepass")) > _LONGEST_PART)
    return next((f"{part[:40]}…" for part in parts), None)


def cleaned(part: str) -> str:
    """A file or folder name that is valid on every system, as close to ``part`` as possible.

    The stem is truncated by itself, so that an image and its caption file keep the same stem.
    """
    plain = _UNPRINTABLE.sub("_", part)
    plain = re.sub(f"[{re.escape(_FORBIDDEN)}]", "_", plain).strip().rstrip(". ") or "_"
    plain = f"_{plain}" if _RESERVED.fullmatch(plain) else plain
    suffix = Path(plain).suffix
    if len(suffix.encode("utf-8")) > _LONGEST_SUFFIX:
        suffix = ""
    stem = plain.removesuffix(suffix) if suffix else plain
    return truncated(stem) + suffix


def relative(written: str) -> str | None:
    """A path as somebody wrote it, on whatever system, with forward slashes and each part cleaned; None where it leads
    out of its folder."""
    parts = PurePosixPath(written.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or re.match(r"^[a-zA-Z]:", parts[0]):
        return None
    return "/".join(map(cleaned, parts))


def truncated(stem: str, longest: int = LONGEST_STEM) -> str:
    """``stem`` truncated to at most ``longest`` bytes in UTF-8, with a hash so that different ones stay different."""
    content = stem.encode("utf-8")
    if len(content) <= longest:
        return stem
    mark = "~" + hashlib.sha256(content).hexdigest()[:_MARK]
    return content[: longest - len(mark)].decode("utf-8", "ignore") + mark
