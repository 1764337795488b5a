"""``prepare_dataset.py``'s command line: photos or a zip in, a folder ready to train on out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import config as configs
from ..dataset import bucket, left_out
from ..dataset.work import Check, Progress
from ..errors import UserError
from ..terminal import BAD_INPUT, DONE, STOPPED, count
from . import archive
from .book import Book
from .prepare import Prepared, Wanted, prepare

_VAE_FACTOR = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``prepare_dataset.py``; returns the exit code: 0 done, 2 bad input, 130 stopped (what is made is kept)."""
    options = _parser().parse_args(arguments)
    wanted = Wanted(options.rename, options.crop, options.format, options.remove_background)
    try:
        made = ready(options.input, options.output, options.resolution, wanted, count)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("stopped; what is made is kept, the same command goes on from there.", file=sys.stderr)
        return STOPPED
    for one in made.skipped:
        print(f"left out: {one.name} {one.reason}", file=sys.stderr)
    told = {"made": len(made.made), "skipped": [{"file": one.name, "reason": one.reason} for one in made.skipped]}
    print(json.dumps(told | {"output": str(options.output)}, ensure_ascii=False), flush=True)
    return DONE


def ready(
    source: Path,
    out: Path,
    resolution: int,
    wanted: Wanted,
    progress: Progress,
    check: Check = lambda: None,
) -> Prepared:
    """Prepare what training would read of ``source``, a folder or a zip, with its captions, in ``out``.

    A zip is unpacked beside ``out`` first.

    Raises:
        UserError: there is no picture, or a setting is wrong.
    """
    folder, skipped = source, []
    if source.is_file():
        folder = out.with_name(f"{out.name}_unpacked")
        skipped = archive.unpack(source, folder, progress=progress, check=check).skipped
    book = Book.open(folder)
    unwanted = left_out.read(folder)
    names = [name for name in book.names if name not in unwanted]
    if not names:
        raise UserError(f"{folder}: there is no picture in this folder.")
    asked = {"train_data_dir": str(folder), "base_model": "any", "output_dir": str(out)}
    grid = bucket.grid(configs.from_dict(asked), [resolution], _VAE_FACTOR)
    made = prepare(folder, names, out, grid, wanted, progress=progress, check=check)
    captions = Book.open(out)
    for old, new in made.made.items():
        entry = book.entry(old)
        if entry.prompt and new in captions.names:
            captions.put(new, entry.prompt, entry.fields, entry.by)
    captions.save()
    return Prepared(made.made, [*skipped, *made.skipped])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="prepare_dataset.py", description="Make photos ready to train on.")
    parser.add_argument("--input", required=True, type=Path, metavar="DIR_OR_ZIP", help="photos; they are not changed")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--resolution", type=int, default=512, help="side the base model was trained at: 512, 768, 1024"
    )
    parser.add_argument("--rename", default="{name}", metavar="PATTERN", help="such as brand_{number:03d}")
    parser.add_argument(
        "--crop", choices=("none", "centre", "smart", "pad"), default="smart",
        help="smart: around the subject; pad: nothing is cut, white is added (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--format", choices=("png", "jpg", "webp"), default="png")
    parser.add_argument("--remove-background", action="store_true", help="put the subject on white; needs rembg")
    return parser
