"""Folders of images and captions -> the examples of a run, and what was skipped."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from PIL import Image

from ..captions import caption
from ..captions.captions import Captions
from ..config import FIELDS, Config
from ..errors import UserError
from ..images import bucket, decode, edited, excluded, folder
from ..images.bucket import Grid, Size
from ..images.edit import UNEDITED, Edit
from ..images.edited import Edits
from ..images.skipped import Skipped
from . import masks
from .example import Example

_REPEAT_FOLDER = re.compile(r"(\d+)_(.+)")
_MOST_REPEATS = FIELDS["num_repeats"].metadata["high"]
_MANY_REPEATS = 1000


@dataclass(frozen=True)
class Dataset:
    """The training set as read, before any image is decoded.

    Attributes:
        examples: training images, then regularisation images, each sorted by name.
        skipped: files that are not trained on, with the reason.
        warnings: sentences the user should read.
        without_caption: number of images trained on only the trigger word or on an empty caption.
    """

    examples: tuple[Example, ...]
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]
    without_caption: int = 0

    def buckets(self) -> dict[Size, int]:
        """Number of images in each bucket (width, height)."""
        return dict(sorted(Counter(example.bucket for example in self.examples).items()))

    def only(self, names: Collection[str]) -> Dataset:
        """With the training images of these names alone, and all regularisation images.

        Raises:
            UserError: none of them is there.
        """
        examples = tuple(one for one in self.examples if one.regularisation or one.name in names)
        if all(one.regularisation for one in examples):
            raise UserError("train_data_dir: none of the images to train on is there any more; check the folder.")
        return replace(self, examples=examples)


def read(config: Config, resolution: Sequence[int], vae_factor: int) -> Dataset:
    """Find images, captions and masks; read the images' headers; give each its bucket and views.

    A caption comes from a table (metadata.csv and the like), else the text file beside the image, else the name of its
    `10_name` folder (which the folder itself may be), else it is empty; the trigger word goes in front of training
    captions.

    Args:
        config: the run.
        resolution: side in pixels, or width and height.
        vae_factor: pixels per latent cell along one side.

    Raises:
        UserError: a folder or the CSV is missing, no image is usable, or the sizes do not fit the model.
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
        training.without_caption + prior.without_caption,
    )


def _read_folder(config: Config, key: str, sizes: Grid) -> Dataset:
    root = Path(getattr(config, key))
    all_names, skipped = folder.scan(root, key, _other_folders(config))
    unwanted, edits = excluded.read(root), edited.read(root)
    names = [name for name in all_names if name not in unwanted]
    skipped += [Skipped(name, "is excluded by hand") for name in all_names if name in unwanted]
    captions = _captions(config, key, root, names, skipped)
    skipped += captions.skipped

    examples: list[Example] = []
    bare: list[str] = []
    for name, size in zip(names, _image_sizes(root, names, edits), strict=True):
        repeats, folder_caption = folder_meaning(root, name, config.num_repeats)
        if isinstance(size, str) or repeats == 0:
            skipped.append(Skipped(name, size if isinstance(size, str) else "is in a folder that repeats it 0 times"))
            continue
        text = captions.caption(name) or folder_caption
        bare += [] if text else [name]
        edit = edits.get(name, UNEDITED)
        examples.append(_example(config, root, name, text, repeats, size, edit, sizes, key))
    if not examples:
        raise folder.no_images(key, root, skipped)
    warnings = (
        *captions.warnings,
        *_without_caption(config, key, bare, len(examples)),
        *_repeat_warnings(root, examples),
    )
    return Dataset(tuple(examples), tuple(skipped), warnings, len(bare))


def _other_folders(config: Config) -> list[Path]:
    """Folders that hold other things than the dataset's images, should they lie inside it."""
    named = (config.output_dir, config.mask_dir, config.reg_data_dir, config.train_data_dir)
    return [config.cache_path, *(Path(path) for path in named if path)]


def _captions(config: Config, key: str, root: Path, names: Sequence[str], skipped: Sequence[Skipped]) -> Captions:
    """What ``metadata_path`` names (training images only), else the folder's own tables and text files."""
    table = Path(config.metadata_path) if key == "train_data_dir" and config.metadata_path else None
    if table is not None and not table.is_file():
        raise UserError(f"metadata_path: there is no file {table}; check the path, or leave it empty.")
    return Captions(
        root, names, skipped, table=table, encoding=config.caption_encoding, leave_out=_other_folders(config)
    )


def _without_caption(config: Config, key: str, bare: Sequence[str], count: int) -> list[str]:
    """A sentence on the images that have no caption, and on what is trained in its place."""
    if not bare:
        return []
    trigger = config.trigger_word if key == "train_data_dir" else ""
    instead = f"the trigger word {trigger} alone" if trigger else "an empty caption"
    kind = "images" if key == "train_data_dir" else "regularisation images"
    if len(bare) == count:
        return [f"None of the {count} {kind} has a caption; all are trained on {instead}."]
    listed = ", ".join(bare[:5]) + (", ..." if len(bare) > 5 else "")
    return [f"{len(bare)} of {count} {kind} have no caption and are trained on {instead}: {listed}"]


def _image_sizes(root: Path, names: Iterable[str], edits: Edits) -> list[Size | str]:
    """Width and height of every edited image, or the reason why it cannot be read."""

    def measure(name: str) -> Size | str:
        try:
            return decode.size(root / name, edits.get(name, UNEDITED))
        except decode.Unreadable as error:
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


def _example(
    config: Config, root: Path, name: str, text: str, repeats: int, size: Size, edit: Edit, sizes: Grid, key: str
) -> Example:
    trigger = config.trigger_word if key == "train_data_dir" else ""
    final = caption.with_trigger(text, trigger)
    variants = caption.variants(final, config, trigger)
    chosen = sizes.choose(size)
    resized = bucket.cover(size, chosen)
    return Example(
        path=root / name,
        name=name,
        caption=final,
        variants=variants,
        class_variants=tuple(caption.of_class(one, trigger, config.class_prompt) for one in variants)
        if config.holds_class
        else (),
        repeats=repeats,
        regularisation=key == "reg_data_dir",
        width=size[0],
        height=size[1],
        bucket=chosen,
        resized=resized,
        views=bucket.views(config, name, resized, chosen),
        mask=None,
        edit=edit,
    )


def _repeat_warnings(root: Path, examples: Iterable[Example]) -> list[str]:
    """On folders that are named like a year; a large ``num_repeats`` is the user's choice."""
    folders = {}
    for one in examples:
        repeats, _ = folder_meaning(root, one.name)
        if repeats >= _MANY_REPEATS:
            parent = PurePosixPath(one.name).parent.as_posix()
            folders[root.resolve().name if parent == "." else parent] = repeats
    return [
        f"Images in {name} are shown {repeats} times an epoch, as its name says; rename the folder if it is a year."
        for name, repeats in folders.items()
    ]
