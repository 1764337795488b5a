"""``prepare_dataset.py``'s command line: photos or a zip in, a folder ready to train on out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .. import config as configs
from ..dataset import bucket, left_out
from ..dataset.bucket import check_side
from ..dataset.folder import SYSTEM_FOLDERS, no_images
from ..dataset.left_out import HIDDEN
from ..dataset.source import folder_meaning
from ..dataset.text_file import ENCODING_HELP
from ..dataset.work import Check, Progress
from ..errors import UserError
from ..terminal import BAD_INPUT, DONE, STOPPED, answer, complain, count, path, say, speak_any_encoding
from . import archive
from .book import Book
from .prepare import Prepared, Wanted, check_wanted, prepare

_VAE_FACTOR = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``prepare_dataset.py``; returns the exit code: 0 done, 2 bad input, 130 stopped (what is made is kept)."""
    speak_any_encoding()
    options = _parser().parse_args(arguments)
    wanted = Wanted(options.rename, options.crop, options.format, options.remove_background)
    try:
        made = ready(options.input, options.output, options.resolution, wanted, count, encoding=options.encoding)
    except (UserError, OSError) as error:
        complain(error)
        return BAD_INPUT
    except KeyboardInterrupt:
        say("stopped; what is made is kept, the same command goes on from there.")
        return STOPPED
    for one in made.skipped:
        say(f"left out: {one.name} {one.reason}")
    told = {"made": len(made.made), "skipped": [{"file": one.name, "reason": one.reason} for one in made.skipped]}
    for text in made.warnings:
        say(f"warning: {text}")
    if made.without_caption:
        say(f"{made.without_caption} of {len(made.made)} images have no caption.")
    told |= {"without_caption": made.without_caption, "warnings": list(made.warnings)}
    answer(told | {"output": str(options.output)})
    return DONE


def ready(
    source: Path,
    out: Path,
    resolution: int,
    wanted: Wanted,
    progress: Progress,
    check: Check = lambda: None,
    *,
    encoding: str = "",
) -> Prepared:
    """Prepare what training would read of ``source``, a folder or a zip, with its captions, in ``out``.

    A zip is unpacked beside ``out`` first. A `10_name` folder becomes one in ``out``, so that it keeps its meaning.

    Raises:
        UserError: there is no image that can be used, or a setting is wrong.
    """
    check_side(resolution)
    check_wanted(wanted, source, out)
    folder, skipped = source, []
    if source.is_file():
        folder = out.with_name(f"{out.name}_unpacked")
        skipped = archive.unpack(source, folder, progress=progress, check=check).skipped
    folder = _entered(folder)
    book = Book.open(folder, encoding=encoding, key="input")
    unwanted = left_out.read(folder)
    names = [name for name in book.names if name not in unwanted]
    skipped = [*skipped, *book.skipped]
    if not names:
        raise no_images("input", folder, skipped)
    asked = {"train_data_dir": str(folder), "base_model": "any", "output_dir": str(out), "output_name": "any"}
    grid = bucket.grid(configs.from_dict(asked), [resolution], _VAE_FACTOR)
    below = folder.resolve().name if folder_meaning(folder, "", otherwise=0)[0] else ""
    made = prepare(folder, names, out, grid, wanted, below=below, progress=progress, check=check)
    _write_captions(book, Book.open(out, encoding=encoding), made)
    bare = [new for old, new in made.made.items() if not (book.entry(old).prompt or folder_meaning(out, new)[1])]
    return Prepared(made.made, [*skipped, *made.skipped], len(bare), tuple(book.warnings))


def _entered(folder: Path) -> Path:
    """The folder that the images are in, where ``folder`` holds nothing but it: what a zip made of a folder gives."""
    while folder.is_dir() and not (folder / HIDDEN).exists():
        inside = [
            path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in SYSTEM_FOLDERS
        ]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].is_symlink():
            break
        folder = inside[0]
    return folder


def _write_captions(book: Book, captions: Book, made: Prepared) -> None:
    """The captions of the originals for the copies."""
    for old, new in made.made.items():
        entry = book.entry(old)
        if entry.prompt and new in captions.names:
            captions.put(new, entry.prompt, entry.fields, entry.by)
    captions.save()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prepare_dataset.py", description="Make photos ready to train on.")
    parser.add_argument("--input", required=True, type=path, metavar="DIR_OR_ZIP", help="photos; they are not changed")
    parser.add_argument("--output", required=True, type=path, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--resolution", type=int, default=512, help="side the base model was trained at: 512, 768, 1024"
    )
    parser.add_argument("--encoding", default="", metavar="NAME", help=ENCODING_HELP)
    parser.add_argument("--rename", default="{name}", metavar="PATTERN", help="such as brand_{number:03d}")
    parser.add_argument(
        "--crop", choices=("none", "centre", "smart", "pad"), default="smart",
        help="smart: around the subject; pad: nothing is cut, white is added (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--format", choices=("png", "jpg", "webp"), default="png")
    parser.add_argument("--remove-background", action="store_true", help="put the subject on white; needs rembg")
    return parser
