"""``prepare_dataset.py``'s command line: photos or a zip in, a folder ready to train on out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..captions.text_file import ENCODING_HELP
from ..errors import UserError
from ..preparation.prepare import PreparationOptions
from ..preparation.training_set import ready
from ..terminal import BAD_INPUT, DONE, STOPPED, accept_any_encoding, complain, count, path, print_json, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``prepare_dataset.py``; returns the exit code: 0 done, 2 bad input, 130 stopped (what is made is kept)."""
    accept_any_encoding()
    options = _parser().parse_args(arguments)
    wanted = PreparationOptions(options.rename, options.crop, options.format, options.remove_background)
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
    result = {"made": len(made.made), "skipped": [{"file": one.name, "reason": one.reason} for one in made.skipped]}
    for text in made.warnings:
        say(f"warning: {text}")
    if made.without_caption:
        say(f"{made.without_caption} of {len(made.made)} images have no caption.")
    result |= {"without_caption": made.without_caption, "warnings": list(made.warnings)}
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
