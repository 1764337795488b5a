"""Folders of pictures and captions -> the examples of a run, and what was left out of it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from ..config import FIELDS, Config
from ..errors import UserError
from . import bucket, caption, folder, left_out, masks, metadata, picture
from .bucket import Grid, Size
from .example import Example, Skipped

_REPEAT_FOLDER = re.compile(r"(\d+)_(.+)")
_MOST_REPEATS = FIELDS["num_repeats"].metadata["high"]
_MANY_REPEATS = 1000


@dataclass(frozen=True)
class Dataset:
    """The training set as read, before any picture is decoded.

    Attributes:
        examples: training pictures, then regularisation pictures, each sorted by name.
        skipped: files that are not trained on, with the reason.
        warnings: sentences the user should read.
    """

    examples: tuple[Example, ...]
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]

    def buckets(self) -> dict[Size, int]:
        """Number of pictures in each bucket (width, height)."""
        return dict(sorted(Counter(example.bucket for example in self.examples).items()))


def read(config: Config, resolution: Sequence[int], vae_factor: int) -> Dataset:
    """Find pictures, captions and masks; read the pictures' headers; give each its bucket and views.

    A caption comes from the metadata.csv row, else the `.txt` or `.caption` file beside the picture, else the name
    of its `10_name` folder (which the folder itself may be), else it is empty; the trigger word goes in front of
    training captions.

    Args:
        config: the run.
        resolution: side in pixels, or width and height.
        vae_factor: pixels per latent cell along one side.

    Raises:
        UserError: a folder or the CSV is missing, no picture is usable, or the sizes do not fit the model.
    """
    sizes = bucket.grid(config, resolution, vae_factor)
    training = _read_folder(config, "train_data_dir", sizes)
    if config.masked_loss == "files":
        matched = masks.match(training.examples, training.skipped, Path(config.mask_dir))
        training = Dataset(
            tuple(matched.examples),
            (*training.skipped, *matched.skipped),
            (*training.warnings, *matched.warnings),
        )
    if not config.reg_data_dir:
        return training
    prior = _read_folder(config, "reg_data_dir", sizes)
    return Dataset(
        training.examples + prior.examples,
        training.skipped + prior.skipped,
        training.warnings + prior.warnings,
    )


def _read_folder(config: Config, key: str, sizes: Grid) -> Dataset:
    root = Path(getattr(config, key))
    found, skipped = folder.scan(root, key, _other_folders(config))
    unwanted = left_out.read(root)
    names = [name for name in found if name not in unwanted]
    skipped += [Skipped(name, "is left out by hand") for name in found if name in unwanted]
    rows = _metadata(config, key, root, names, skipped)
    warnings = list(rows.warnings) if rows else []
    written = rows.captions if rows else {}
    skipped += rows.skipped if rows else []

    examples = []
    for name, found in zip(names, _picture_sizes(root, names), strict=True):
        repeats, folder_caption = folder_meaning(root, name, config.num_repeats)
        if isinstance(found, str) or repeats == 0:
            skipped.append(Skipped(name, found if isinstance(found, str) else "is in a folder that repeats it 0 times"))
            continue
        text = written.get(name)
        if text is None:
            text = _sidecar(root / name, name, warnings)
        examples.append(_example(config, root, name, text or folder_caption, repeats, found, sizes, key))
    if not examples:
        raise folder.no_images(key, root, skipped)
    return Dataset(tuple(examples), tuple(skipped), (*warnings, *_repeat_warnings(root, examples)))


def _other_folders(config: Config) -> list[Path]:
    """Folders that hold other things than the set's pictures, should they lie inside it."""
    named = (config.output_dir, config.mask_dir, config.reg_data_dir, config.train_data_dir)
    return [config.cache_path, *(Path(path) for path in named if path)]


def _metadata(
    config: Config, key: str, root: Path, names: Sequence[str], skipped: Sequence[Skipped]
) -> metadata.Metadata | None:
    """The CSV that ``metadata_path`` names (training pictures only), else the folder's own metadata.csv, if any."""
    if key == "train_data_dir" and config.metadata_path:
        path = Path(config.metadata_path)
        if not path.is_file():
            raise UserError(f"metadata_path: there is no file {path}; check the path, or leave it empty.")
    else:
        path = root / "metadata.csv"
        if not path.is_file():
            return None
    return metadata.Metadata(path, root, names, (one.name for one in skipped))


def _picture_sizes(root: Path, names: Iterable[str]) -> list[Size | str]:
    """Width and height of every picture, or the reason why it cannot be read."""

    def measure(name: str) -> Size | str:
        try:
            return picture.size(root / name)
        except picture.Unreadable as error:
            return str(error)

    Image.init()  # Pillow loads its plugins lazily, which is not meant for several threads at once
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2)) as pool:
        return list(pool.map(measure, names))


def folder_meaning(root: Path, name: str, otherwise: int = 1) -> tuple[int, str]:
    """Repeats and caption that the nearest `10_name` folder gives the image ``name`` (kohya's layout), ``root`` itself
    included; ``otherwise`` and an empty caption where there is none.
    """
    for part in (*reversed(PurePosixPath(name).parent.parts), root.resolve().name):
        match = _REPEAT_FOLDER.fullmatch(part)
        if match and int(match[1]) <= _MOST_REPEATS:  # above that it is a date, not a number of repeats
            return int(match[1]), caption.tidy(match[2])
    return otherwise, ""


def _sidecar(path: Path, name: str, warnings: list[str]) -> str | None:
    try:
        return metadata.sidecar(path)
    except (OSError, ValueError):
        warnings.append(f"The caption file of {name} cannot be read as text and is not used; save it as UTF-8.")
        return None


def _example(
    config: Config, root: Path, name: str, text: str, repeats: int, size: Size, sizes: Grid, key: str
) -> Example:
    trigger = config.trigger_word if key == "train_data_dir" else ""
    final = caption.with_trigger(text, trigger)
    chosen = sizes.choose(size)
    resized = bucket.cover(size, chosen)
    return Example(
        path=root / name,
        name=name,
        caption=final,
        variants=caption.variants(final, config, trigger),
        repeats=repeats,
        regularisation=key == "reg_data_dir",
        width=size[0],
        height=size[1],
        bucket=chosen,
        resized=resized,
        views=bucket.views(config, name, resized, chosen),
        mask=None,
    )


def _repeat_warnings(root: Path, examples: Iterable[Example]) -> list[str]:
    """On folders that are named like a year; a large ``num_repeats`` is what the user asked for."""
    folders = {}
    for one in examples:
        repeats, _ = folder_meaning(root, one.name)
        if repeats >= _MANY_REPEATS:
            parent = PurePosixPath(one.name).parent.as_posix()
            folders[root.resolve().name if parent == "." else parent] = repeats
    return [
        f"Pictures in {name} are shown {repeats} times an epoch, as its name says; rename the folder if it is a year."
        for name, repeats in folders.items()
    ]
