"""``python -m lora_scripts_ext catalogue``: from a product list to finished images, from a shell."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import terminal
from ..catalogue import candidates, checking, decisions
from ..catalogue import export as exports
from ..catalogue.generate import generate
from ..catalogue.planning import Planner, as_listing, merged, read, take
from ..catalogue.settings import Settings, from_dict
from ..catalogue.store import NAME, Catalogue
from ..errors import NotFound, UserError
from ..jobs.catalogue_host import base_model, host
from ..jobs.environment import Standalone
from ..jobs.kinds.kind import Stopped
from ..jobs.library_loras import loras
from ..marks import c2pa
from ..marks.c2pa import Credentials
from ..products import mappings
from ..products.mappings import Mappings
from . import data_dir, exit_code
from .interrupt import stop_on
from .review import changes

#: of the catalogue, in the folder of its finished images
FOLDER = "catalogue"
#: commands of other modules
_OTHERS = {"compare": "catalogue_compare", "send": "catalogue_send"}
_FILES = ("rules", "templates", "glossary", "words")
_MOST_SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``catalogue``; returns the exit code: 0 done, 2 bad input, 130 stopped, 1 anything else."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in _OTHERS:
        code: int = importlib.import_module(f".{_OTHERS[words[0]]}", __package__).main(words[1:])
        return code
    options = _parser().parse_args(words)
    folder = getattr(options, "out", None) or getattr(options, "catalogue", None) or Path()
    return exit_code.of(
        lambda: options.command(options),
        stopped="stopped; what is drawn is kept, run the same command again to go on.",
        folder=folder,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lora_scripts_ext catalogue",
        description="From a product list to finished, labelled images: draw candidates with the LoRAs that rules name, "
        "approve them, finish them for channels.",
        epilog="Two more commands have options of their own, see compare --help and send --help: compare draws two "
        "products in one image, send hands finished images to a shop system.",
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    drawn = data_dir.subcommand(commands, "generate", _generate, "draw candidates of every product, and finish them")
    _add_list(drawn)
    drawn.add_argument(
        "--partial", action="store_true", help="the list holds but what is new or has changed; other products stay"
    )
    _add_drawing(drawn)
    _add_credentials(drawn)
    checked = data_dir.subcommand(
        commands, "check", _check, "say what would be drawn of a product list, and draw nothing"
    )
    _add_list(checked)
    approved = data_dir.subcommand(commands, "approve", _approve, "approve or reject a candidate")
    _add_catalogue(approved)
    _add_decision(approved)
    exported = data_dir.subcommand(commands, "export", _export, "finish the approved images for the channels")
    _add_catalogue(exported)
    _add_export(exported)
    _add_credentials(exported)
    return parser


def _add_drawing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--channel", action="append", metavar="NAME",
        help="channel that images are finished for, or its file; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=terminal.path, required=True, metavar="DIR",
        help="folder of the finished images; the catalogue lies in it, too",
    )  # fmt: skip
    parser.add_argument("--candidates", type=int, metavar="N", help="images of each product (default: 4)")
    parser.add_argument("--base-model", type=terminal.path, metavar="FILE", help="checkpoint or diffusers folder")
    parser.add_argument("--seed", type=int, metavar="N", help="all seeds are derived from it (default: 1234)")
    parser.add_argument(
        "--keep-product", action="store_true", default=None,
        help="keep the products of photos with a mask, and draw what is around them",
    )  # fmt: skip


def _add_decision(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sku", required=True, metavar="SKU")
    parser.add_argument("--candidate", type=int, required=True, metavar="N", help="its number")
    parser.add_argument(
        "--crop", type=_crop, metavar="L,T,R,B",
        help="part that is used: left, top, right, bottom as shares of the sides",
    )  # fmt: skip
    parser.add_argument("--reject", action="store_true", help="reject it instead")
    parser.add_argument("--comment", default="", metavar="TEXT")
    parser.add_argument("--who", default="", metavar="NAME", help="who says so")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=terminal.path, required=True, metavar="DIR", help="folder of the finished images")
    parser.add_argument(
        "--channel", action="append", metavar="NAME", help="channels instead of the catalogue's; may be repeated"
    )
    parser.add_argument(
        "--all", action="store_true", help="also the first image of each product that nobody has decided about"
    )


def _add_list(parser: argparse.ArgumentParser) -> None:
    """What says which products there are, and what is drawn of them."""
    parser.add_argument(
        "--products",
        type=terminal.path,
        required=True,
        metavar="FILE",
        help="CSV, TSV, JSON or XLSX, or a folder of product photos",
    )
    parser.add_argument(
        "--rules", type=terminal.path, metavar="FILE", help="YAML: which products are drawn with which LoRAs"
    )
    parser.add_argument(
        "--columns", metavar="sku=Item,title=Name", help="columns of the list whose names do not say what they are"
    )
    parser.add_argument(
        "--photos-from",
        action="append",
        metavar="ADDRESS",
        help="what addresses in the list begin with whose photos are fetched, such as https://cdn.example.com/; may be "
        "repeated",
    )
    parser.add_argument("--templates", type=terminal.path, metavar="FILE", help="YAML: how prompts are made")
    parser.add_argument(
        "--glossary",
        type=terminal.path,
        metavar="FILE",
        help="YAML: words of products and what the base model calls them",
    )
    parser.add_argument(
        "--words", type=terminal.path, metavar="FILE", help="YAML: words that no prompt may hold, competitors' names"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting in docs/catalogue.md, such as steps=30 or producer=ACME; may be repeated",
    )


def _add_catalogue(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--catalogue", type=terminal.path, required=True, metavar="DIR", help="what generate was given as --out"
    )


def _add_credentials(parser: argparse.ArgumentParser) -> None:
    """What finished images are signed with."""
    parser.add_argument(
        "--certificate",
        type=terminal.path,
        metavar="FILE",
        help="sign finished images (C2PA): PEM file with the certificate and those that it was issued by",
    )
    parser.add_argument("--key", type=terminal.path, metavar="FILE", help="PEM file with its private key")
    parser.add_argument(
        "--algorithm", choices=c2pa.ALGORITHMS, default="es256", help="that of the key (default: es256)"
    )


def _credentials(options: argparse.Namespace) -> Credentials | None:
    """What they say, tried.

    Raises:
        UserError: one of two is missing, or they cannot be used.
    """
    if options.certificate is None and options.key is None:
        return None
    if options.certificate is None or options.key is None:
        raise UserError("--certificate and --key belong together; give both files, or neither.")
    credentials = Credentials(options.certificate, options.key, options.algorithm)
    c2pa.check(credentials)
    return credentials


def _crop(text: str) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no part such as 0.1,0,0.9,1") from error
    return left, top, right, bottom


def _generate(options: argparse.Namespace) -> int:
    started = time.time()
    folder = options.out.absolute() / FOLDER
    catalogue = Catalogue.open(folder) if (folder / NAME).exists() else None
    settings = _settings(options, catalogue.settings() if catalogue else Settings())
    # What is wrong is said before anything is drawn.
    credentials = _credentials(options)
    environment = Standalone(options.data_dir)
    kept = Mappings(options.data_dir / mappings.FOLDER)
    planner, listing = Planner(settings, loras(environment, settings)), read(settings, mappings=kept)
    if options.partial:
        if catalogue is None:
            raise UserError(f"--partial: there is no catalogue in {options.out} yet; give the whole list first.")
        listing = merged(as_listing(catalogue), listing)
    exports.wanted(settings, settings.channels)
    catalogue = catalogue or Catalogue.create(folder, settings)
    try:
        for problem in listing.problems[:_MOST_SHOWN]:
            terminal.print_message(f"{options.products}: row {problem.row}: {problem.sentence}")
        take(catalogue, settings, listing, planner, kept)
        candidates.request(catalogue)
        with _stopping() as check:
            done = generate(
                catalogue, lambda: host(environment, settings, lambda: None).drawing(base_model(environment, settings)),
                loras(environment, settings), progress=terminal.count, check=check,
            )  # fmt: skip
            _print_failures(catalogue)
            finished = exports.export(
                catalogue, options.out, settings.channels, undecided=True, credentials=credentials,
                progress=terminal.count, check=check,
            )  # fmt: skip
        unmatched = catalogue.page(state="unmatched", limit=1000).products
    finally:
        catalogue.close()
    _print_refused(finished)
    if unmatched:
        terminal.print_message(
            f"no rule fits these products, so nothing is drawn of them ({len(unmatched)}): "
            f"{', '.join(one.sku for one in unmatched[:_MOST_SHOWN])}"
        )
    terminal.print_json({
        "catalogue": str(catalogue.folder), "generated": done.drawn, "failed": done.failed, **finished.to_dict(),
        "unmatched": [one.sku for one in unmatched], "problems": [vars(one) for one in listing.problems],
        "seconds": round(time.time() - started, 1),
    })  # fmt: skip
    return terminal.FAILED if done.failed and not done.drawn else terminal.DONE


def _settings(options: argparse.Namespace, before: Settings) -> Settings:
    """The settings that the options change.

    Raises:
        UserError: one cannot be used, or something is missing.
    """
    given = vars(options)
    values: dict[str, Any] = {**vars(before), **changes(options.set), "source": str(options.products.absolute())}
    values["name"] = values["name"] or options.products.stem
    for key in ("candidates", "seed", "keep_product"):
        if given.get(key) is not None:
            values[key] = given[key]
    if given.get("channel"):
        values["channels"] = given["channel"]
    if options.photos_from:
        values["photos_from"] = options.photos_from
    if given.get("base_model"):
        values["base_model"] = str(given["base_model"].absolute())
    if options.columns:
        values["columns"] = _columns(options.columns)
    for key in _FILES:
        if given[key] is not None:
            values[key] = str(given[key].absolute())
    return from_dict(values, "--set")


def _columns(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise UserError(f"--columns: {wrong[0]!r} names no column; write FIELD=COLUMN, such as sku=Item number.")
    return {name.strip(): header.strip() for name, _, header in pairs}


def _print_failures(catalogue: Catalogue) -> None:
    shown = 0
    for product in catalogue.page(state="failed", limit=_MOST_SHOWN).products:
        for one in candidates.of_product(catalogue, product.id):
            if one.error and shown < _MOST_SHOWN:
                terminal.print_message(f"{product.sku}: {one.error}")
                shown += 1
                break


def _print_refused(exported: exports.Exported) -> None:
    for sentence in exported.refused[:_MOST_SHOWN]:
        terminal.print_message(sentence)
    if surplus := exported.refused[_MOST_SHOWN:]:
        terminal.print_message(f"{len(surplus)} more images are refused; the last line names them all.")


@contextmanager
def _stopping() -> Iterator[Callable[[], None]]:
    """What is to be called between two pieces of work: it raises ``Stopped`` after a signal."""
    notice = "Stopping after this product; press again to stop at once."
    with stop_on((signal.SIGINT, signal.SIGTERM), lambda: terminal.print_message(notice)) as should_stop:

        def check() -> None:
            if should_stop():
                raise Stopped

        yield check


def _check(options: argparse.Namespace) -> int:
    settings = _settings(options, Settings())
    planner = Planner(settings, loras(Standalone(options.data_dir), settings))
    kept = Mappings(options.data_dir / mappings.FOLDER)
    terminal.print_json(checking.check(planner, read(settings, mappings=kept)))
    return terminal.DONE


def _opened(options: argparse.Namespace) -> Catalogue:
    folder = options.catalogue.absolute()
    found = next((one for one in (folder, folder / FOLDER) if (one / NAME).is_file()), None)
    if found is None:
        raise NotFound(f"{options.catalogue}: there is no catalogue in this folder; check the path.")
    return Catalogue.open(found)


def _approve(options: argparse.Namespace) -> int:
    catalogue = _opened(options)
    try:
        product = catalogue.by_sku(options.sku)
        decision = decisions.decide(
            catalogue, product.id, options.candidate, "rejected" if options.reject else "approved", crop=options.crop,
            comment=options.comment, who=options.who,
        )  # fmt: skip
    finally:
        catalogue.close()
    terminal.print_json({"sku": options.sku, "candidate": options.candidate, "verdict": decision.verdict})
    return terminal.DONE


def _export(options: argparse.Namespace) -> int:
    credentials = _credentials(options)
    catalogue = _opened(options)
    try:
        with _stopping() as check:
            done = exports.export(
                catalogue, options.out, options.channel or catalogue.settings().channels, undecided=options.all,
                credentials=credentials, progress=terminal.count, check=check,
            )  # fmt: skip
    finally:
        catalogue.close()
    _print_refused(done)
    terminal.print_json(done.to_dict())
    return terminal.DONE
