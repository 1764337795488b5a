"""``prepare_dataset.py``'s command line: photos or a zip in, a folder ready to train on out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..captions.text_file import ENCODING_HELP
from ..errors import UserError
from ..preparation.prepare import PreparationOptions
from ..preparation.training_set import ready
from ..terminal import (
    BAD_INPUT,
    DONE,
    STOPPED,
    accept_any_encoding,
    count,
    path,
    print_error,
    print_json,
    print_message,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``prepare_dataset.py``; returns the exit code: 0 done, 2 bad input, 130 stopped (copies stay)."""
    accept_any_encoding()
    options = _parser().parse_args(arguments)
    preparation = PreparationOptions(options.rename, options.crop, options.format, options.remove_background)
    try:
        prepared = ready(
            options.input, options.output, options.resolution, preparation, count, encoding=options.encoding
        )
    except (UserError, OSError) as error:
        print_error(error)
        return BAD_INPUT
    except KeyboardInterrupt:
        print_message("stopped; the copies so far are kept, the same command goes on from there.")
        return STOPPED
    for one in prepared.skipped:
        print_message(f"skipped: {one.name} {one.reason}")
    skipped = [{"file": one.name, "reason": one.reason} for one in prepared.skipped]
    result = {"made": len(prepared.copies), "skipped": skipped}
    for text in prepared.warnings:
        print_message(f"warning: {text}")
    if prepared.without_caption:
        print_message(f"{prepared.without_caption} of {len(prepared.copies)} images have no caption.")
    result |= {"without_caption": prepared.without_caption, "warnings": list(prepared.warnings)}
    print_json(result | {"output": str(options.output)})
    return DONE


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
