"""``auto_label.py``'s command line: images in, metadata.csv out."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Sequence
from typing import Any

from ..captioning import choose
from ..captioning.base import Captioner, CaptionerOptions
from ..captioning.label import Labelled, label
from ..captions.fields import TEMPLATE
from ..captions.store import CaptionStore
from ..captions.text_file import ENCODING_HELP
from ..errors import UserError
from ..images.folder import no_images
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
from .interrupt import stop_on


class _Stop(Exception):
    """The user requested a stop; what is captioned is kept."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``auto_label.py``; returns the exit code: 0 done, 2 bad input, 130 stopped (captions so far are saved)."""
    accept_any_encoding()
    options = _parser().parse_args(arguments)
    try:
        with stop_on([signal.SIGINT]) as should_stop:

            def check() -> None:
                if should_stop():
                    raise _Stop

            return _run(options, check)
    except _Stop:
        print_message("stopped; what is captioned is kept, the same command goes on from there.")
        return STOPPED
    except (UserError, OSError) as error:
        print_error(error)
        return BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:12} needs {requirement}" for name, requirement, _ in choose.known())
    parser = argparse.ArgumentParser(
        prog="auto_label.py",
        description="Caption the images of a folder that have no caption yet.",
        epilog=f"captioners:\n{listed}\n  auto         takes blip where its model is on this machine, else names",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--input", required=True, type=path, metavar="DIR", help="folder of the images")
    parser.add_argument(
        "--output", type=path, metavar="CSV", help="empty takes metadata.csv, .jsonl or .json in that folder"
    )
    parser.add_argument("--encoding", default="", metavar="NAME", help=ENCODING_HELP)
    parser.add_argument("--captioner", default="auto", metavar="NAME", help="see below")
    parser.add_argument("--model", default="", metavar="DIR_OR_ID", help="empty takes the captioner's usual one")
    parser.add_argument("--download", action="store_true", help="fetch the model from the hub if it is not here")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--trigger", default="", metavar="WORD", help="put this in front of every caption")
    parser.add_argument(
        "--template", default=TEMPLATE, help="of subject, attributes, scene, style (default: %(default)s)"
    )
    parser.add_argument("--words", type=path, metavar="FILE", help="your own words, for clip")
    parser.add_argument("--endpoint", default="", metavar="URL", help="images are sent there and nowhere else")
    parser.add_argument("--key-from", default="", metavar="VARIABLE", help="environment variable with its key")
    parser.add_argument(
        "--overwrite", choices=("none", "ours", "all"), default="none",
        help="ours: replace what a captioner wrote; all: also what people wrote",
    )  # fmt: skip
    parser.add_argument("--sidecars", action="store_true", help="also write a text file beside each image")
    return parser


def _run(options: argparse.Namespace, check: Callable[[], None]) -> int:
    if options.output and options.output.is_dir():
        raise UserError(f"output {options.output}: this is a folder; name a file in it, such as metadata.csv.")
    store = CaptionStore.open(options.input, options.output, options.encoding, key="input")
    for text in store.warnings:
        print_message(f"warning: {text}")
    if not store.names:
        raise no_images("input", options.input, store.skipped)
    captioner = choose.make(_captioner_options(options))
    try:
        done = _label(options, store, captioner, check)
    finally:
        captioner.close()
    sidecars = store.write_sidecars() if options.sidecars else 0
    skipped = [*store.skipped, *done.skipped]
    for one in skipped:
        print_message(f"skipped: {one.name} {one.reason}")
    result: dict[str, Any] = {"captioner": captioner.name, "written": done.written, "kept": done.kept}
    result |= {"skipped": [{"picture": one.name, "reason": one.reason} for one in skipped], "sidecars": sidecars}
    without = len(store.without_caption)
    if without:
        print_message(f"{without} of {len(store.names)} images have no caption.")
    print_json(result | {"without_caption": without, "warnings": store.warnings})
    return DONE


def _label(
    options: argparse.Namespace, store: CaptionStore, captioner: Captioner, check: Callable[[], None]
) -> Labelled:
    return label(
        options.input, store, captioner, template=options.template, trigger=options.trigger,
        overwrite=options.overwrite, progress=count, check=check,
    )  # fmt: skip


def _captioner_options(options: argparse.Namespace) -> CaptionerOptions:
    return CaptionerOptions(
        captioner=options.captioner,
        model=options.model,
        device=options.device,
        words=options.words,
        endpoint=options.endpoint,
        key_from=options.key_from,
        download=options.download,
    )
