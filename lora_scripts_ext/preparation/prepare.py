"""Photos prepared in a folder of their own: renamed, upright, edited, cropped, of one size and format."""

from __future__ import annotations

import hashlib
import json
import shutil
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Literal

from PIL import Image

from .. import file_name, files, json_text, pattern
from ..errors import UserError
from ..images import bucket, decode, edited
from ..images.bucket import Grid
from ..images.edit import UNEDITED, Edit
from ..images.excluded import HIDDEN
from ..images.skipped import Skipped
from ..parallel import Check, Progress, ahead
from . import background, subject

Crop = Literal["none", "centre", "smart", "pad"]
_RECORD = "prepared.json"
_FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
_QUALITY = 95


@dataclass(frozen=True)
class PreparationOptions:
    """How images are prepared.

    Attributes:
        rename: with ``{name}`` (the old one) and ``{number}``, such as ``brand_{number:03d}``.
        crop: ``none`` only scales; ``centre`` and ``smart`` (around the subject) crop to the nearest bucket; ``pad``
            fills up to it with white.
        kind: file format: png, jpg or webp.
        without_background: put the subject on white; needs rembg.
    """

    rename: str = "{name}"
    crop: Crop = "smart"
    kind: str = "png"
    without_background: bool = False


@dataclass(frozen=True)
class Prepared:
    """The copies that were written, and the images that were skipped.

    Attributes:
        copies: the new name by the old one, both relative to their folders.
        skipped: images without a copy, with the reason.
        without_caption: how many copies have no caption.
        warnings: sentences on captions that are not used.
    """

    copies: dict[str, str]
    skipped: list[Skipped]
    without_caption: int = 0
    warnings: tuple[str, ...] = ()


def prepare(
    folder: Path,
    names: Sequence[str],
    out: Path,
    grid: Grid,
    options: PreparationOptions,
    *,
    below: str = "",
    progress: Progress = lambda done, total, what: None,
    check: Check = lambda: None,
) -> Prepared:
    """Prepare copies of the edited images ``names`` of ``folder`` in ``out``; the originals are not touched.

    Each is written whole; a copy of the same content with the same options is not written again.

    Args:
        folder: of the originals.
        names: relative to it.
        out: a new folder, or one that this function wrote before.
        grid: the sizes to crop to, as training chooses them.
        options: how they are prepared.
        below: a folder in ``out`` to put them in, such as `10_name`.
        progress: called with done, total and "pictures".
        check: called between images; what it raises ends the work, copies made so far stay.

    Raises:
        UserError: a setting is wrong, ``out`` holds other things, or rembg is needed and missing.
    """
    check_options(options, folder, out)
    new_names = {name: (PurePosixPath(below) / new).as_posix() for name, new in _new_names(names, options).items()}
    if options.without_background:
        background.require()
    record, edits = _read_record(out), edited.read(folder)
    copies: dict[str, str] = {}
    skipped: list[Skipped] = []

    def make(name: str) -> str | Skipped:
        try:
            target, edit = new_names[name], edits.get(name, UNEDITED)
            return _make(folder / name, edit, out / target, grid, options, record.get(target))
        except decode.Unreadable as error:
            return Skipped(name, str(error))
        except OSError as error:
            return Skipped(name, f"cannot be read or written ({error.strerror})")

    try:
        for done, (name, key) in enumerate(zip(names, ahead(make, names), strict=True), 1):
            if isinstance(key, Skipped):
                skipped.append(key)
            else:
                copies[name] = new_names[name]
                record[new_names[name]] = key
                _copy_captions(folder / name, out / new_names[name])
            progress(done, len(names), "pictures")
            check()
    finally:
        files.write_text(out / HIDDEN / _RECORD, json_text.dumps(record))
    return Prepared(copies, skipped)


def check_options(options: PreparationOptions, folder: Path, out: Path) -> None:
    """Refuse what ``prepare`` would refuse.

    Raises:
        UserError: a setting is wrong, or ``out`` holds other things.
    """
    shown = repr(options.rename[:100])
    try:
        used = pattern.fields(options.rename, {"name": str, "number": int})
    except ValueError as error:
        raise UserError(f"rename is {shown} ({error}); write for example brand_{{number:03d}}.") from error
    if not used or "/" in options.rename or "\\" in options.rename:
        raise UserError(f"rename is {shown}; it needs {{name}} or {{number}}, and no slash.")
    if options.kind not in _FORMATS:
        raise UserError(f"format is {options.kind!r}; take one of {', '.join(_FORMATS)}.")
    home, target = folder.resolve(), out.resolve()
    if home == target or home.is_relative_to(target) or target.is_relative_to(home):
        raise UserError(f"output {out}: it must lie outside of {folder}, so that no original is mixed up with a copy.")
    if out.exists() and not out.is_dir():
        raise UserError(f"output {out}: this is a file; name a new folder.")
    if out.is_dir() and any(out.iterdir()) and not (out / HIDDEN / _RECORD).is_file():
        raise UserError(f"output {out}: this folder holds other things; name a new one.")


def _new_names(names: Sequence[str], options: PreparationOptions) -> dict[str, str]:
    """The new name of each, one that every system can write; folders stay, and two images never get one name."""
    used: set[str] = set()
    chosen = {}
    for number, name in enumerate(names, 1):
        path = PurePosixPath(*map(file_name.cleaned, PurePosixPath(name).parent.parts), PurePosixPath(name).name)
        # A name that begins with a dot would hide the copy.
        filled = pattern.fill(options.rename, {"name": path.stem, "number": number}).lstrip(". ")
        stem = file_name.truncated(file_name.cleaned(f"{filled}.{options.kind}").removesuffix(f".{options.kind}"))
        new, again = path.with_name(f"{stem}.{options.kind}"), 2
        while _alike(new) in used:
            new, again = path.with_name(f"{stem}_{again}.{options.kind}"), again + 1
        used.add(_alike(new))
        chosen[name] = new.as_posix()
    return chosen


def _alike(path: PurePosixPath) -> str:
    """The same for names that some system takes for one."""
    return unicodedata.normalize("NFC", path.as_posix()).casefold()


def _make(
    source: Path,
    edit: Edit,
    target: Path,
    grid: Grid,
    options: PreparationOptions,
    known: str | None,
) -> str:
    """Write one image; returns the hash of its content and options."""
    content = source.read_bytes()
    recipe = [hashlib.sha256(content).hexdigest(), asdict(options), grid.sizes, grid.area, grid.upscale]
    recipe += [edit.key()] if edit != UNEDITED else []
    key = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()
    if known == key and target.is_file():
        return key
    pixels = decode.decode(content, edit).pixels
    if options.without_background:
        pixels = background.on_white(pixels)
    packed = BytesIO()
    arguments = {} if options.kind == "png" else {"quality": _QUALITY}
    _shaped(pixels, grid, options.crop).save(packed, format=_FORMATS[options.kind], **arguments)
    files.write_bytes(target, packed.getvalue())
    return key


def _shaped(pixels: Image.Image, grid: Grid, crop: Crop) -> Image.Image:
    """The image in the size that training would choose for it."""
    chosen = grid.choose(pixels.size)
    if crop == "none":
        scale = max(chosen[0] / pixels.width, chosen[1] / pixels.height)
        size = max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale))
        return pixels.resize(size, Image.Resampling.LANCZOS)
    if crop == "pad":
        scale = min(chosen[0] / pixels.width, chosen[1] / pixels.height)
        size = max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale))
        padded = Image.new("RGB", chosen, "white")
        small = pixels.resize(size, Image.Resampling.LANCZOS)
        padded.paste(small, ((chosen[0] - size[0]) // 2, (chosen[1] - size[1]) // 2))
        return padded
    resized = bucket.cover(pixels.size, chosen)
    left, top = _corner(pixels, resized, chosen, crop)
    across, down = pixels.width / resized[0], pixels.height / resized[1]
    box = (left * across, top * down, (left + chosen[0]) * across, (top + chosen[1]) * down)
    return pixels.resize(chosen, Image.Resampling.LANCZOS, box=box)


def _corner(pixels: Image.Image, resized: bucket.Size, chosen: bucket.Size, crop: Crop) -> tuple[int, int]:
    """Where the crop begins, in the resized image: in the middle, or so that the subject's middle is in its middle."""
    across = down = 0.5
    if crop == "smart":
        left, top, right, bottom = subject.box(pixels)
        across, down = (left + right) / 2, (top + bottom) / 2
    return _start(across, resized[0], chosen[0]), _start(down, resized[1], chosen[1])


def _start(centre: float, whole: int, part: int) -> int:
    """Where ``part`` of ``whole`` pixels begins that has the middle nearest to ``centre``, 0 to 1."""
    return min(max(0, round(centre * whole - part / 2)), whole - part)


def _copy_captions(source: Path, target: Path) -> None:
    for suffix in (".txt", ".caption"):
        text = source.with_suffix(suffix)
        if text.is_file():
            with files.replacing(target.with_suffix(suffix)) as temporary:
                shutil.copyfile(text, temporary)


def _read_record(out: Path) -> dict[str, str]:
    """The hashes of earlier copies by name; with a damaged record everything is written again."""
    try:
        record = json.loads((out / HIDDEN / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
