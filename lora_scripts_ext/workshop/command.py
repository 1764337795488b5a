"""``check_dataset.py``'s command line: a verdict for every picture of a folder, and advice for the set."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..dataset import left_out
from ..dataset.work import Check, Progress
from ..errors import UserError
from ..hosts.tokenizer import Tokenizer
from ..terminal import BAD_INPUT, DONE, STOPPED, count
from .book import Book
from .report import Report, report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``check_dataset.py``; returns the exit code: 0 done, 2 bad input, 130 stopped (what is measured is kept)."""
    options = _parser().parse_args(arguments)
    try:
        made = check(options.input, options.metadata, options.resolution, options.trigger, count)
        for line in lines(made):
            print(line)
        if options.leave_out:
            left_out.write(options.input, bad(made) | left_out.read(options.input))
        print(json.dumps(made.to_dict(), ensure_ascii=False), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("stopped; what is measured is kept for the next time.", file=sys.stderr)
        return STOPPED
    return DONE


def check(
    folder: Path,
    metadata: Path | None,
    resolution: int,
    trigger: str,
    progress: Progress,
    stop: Check = lambda: None,
) -> Report:
    """The report on a folder as training would read it, without what is left out already; ``stop`` as in ``report``.

    Raises:
        UserError: the folder is missing or empty, or a file of captions is damaged.
    """
    book = Book.open(folder, metadata)
    unwanted = left_out.read(folder)
    names = [name for name in book.names if name not in unwanted]
    if not names:
        raise UserError(f"{folder}: there is no picture in this folder.")
    tokenizer = Tokenizer.shipped()
    return report(
        folder,
        names,
        resolution=resolution,
        captions={name: book.entry(name).prompt for name in names},
        count_tokens=tokenizer.count,
        longest=tokenizer.room,
        trigger=trigger,
        progress=progress,
        check=stop,
    )


def bad(made: Report) -> set[str]:
    """The pictures that a click leaves out."""
    return {one.name for one in made.verdicts if one.grade == "bad"}


def lines(made: Report) -> list[str]:
    """The report for a person."""
    said = [f"{len(made.verdicts)} pictures: {made.count('good')} good, {made.count('doubtful')} doubtful, "
            f"{made.count('bad')} bad"]  # fmt: skip
    for grade in ("bad", "doubtful"):
        for one in made.verdicts:
            if one.grade == grade:
                said.append(f"{grade:9} {one.name}: {'; '.join(reason.text for reason in one.reasons)}")
    told = made.settings
    said += [f"advice    {text}" for text in made.advice]
    return [*said, f"settings  repeats {told.repeats}, epochs {told.epochs}, rank {told.rank}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="check_dataset.py", description="Say which pictures are fit to train on.")
    parser.add_argument("--input", required=True, type=Path, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--metadata", type=Path, metavar="CSV", help="empty takes metadata.csv in that folder")
    parser.add_argument(
        "--resolution", type=int, default=512, help="side the base model was trained at: 512, 768, 1024"
    )
    parser.add_argument("--trigger", default="", metavar="WORD", help="the trigger word, to look for in the captions")
    parser.add_argument("--leave-out", action="store_true", help="do not train on the bad ones from now on")
    return parser
