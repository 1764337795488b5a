"""``check_dataset.py``'s command line: a verdict for every picture of a folder, and advice for the set."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..dataset import left_out
from ..dataset.bucket import check_side
from ..dataset.example import Skipped
from ..dataset.folder import no_images
from ..dataset.source import folder_meaning
from ..dataset.text_file import ENCODING_HELP
from ..dataset.work import Check, Progress
from ..errors import UserError
from ..hosts.tokenizer import Tokenizer
from ..terminal import BAD_INPUT, DONE, STOPPED, answer, complain, count, path, say, show, speak_any_encoding
from .book import Book
from .report import Report, report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``check_dataset.py``; returns the exit code: 0 done, 2 bad input, 130 stopped (what is measured is kept)."""
    speak_any_encoding()
    options = _parser().parse_args(arguments)
    try:
        made = check(
            options.input, options.metadata, options.resolution, options.trigger, count, encoding=options.encoding
        )
        for line in lines(made):
            show(line)
        if options.leave_out:
            left_out.write(options.input, bad(made) | left_out.read(options.input))
        answer(made.to_dict())
    except (UserError, OSError) as error:
        complain(error)
        return BAD_INPUT
    except KeyboardInterrupt:
        say("stopped; what is measured is kept for the next time.")
        return STOPPED
    return DONE


def check(
    folder: Path,
    metadata: Path | None,
    resolution: int,
    trigger: str,
    progress: Progress,
    stop: Check = lambda: None,
    *,
    encoding: str = "",
) -> Report:
    """The report on a folder as training would read it, without what is left out already; ``stop`` as in ``report``.

    Raises:
        UserError: the folder is missing or empty, a file of captions is missing or damaged, the resolution is absurd.
    """
    check_side(resolution)
    if metadata is not None and not metadata.is_file():
        raise UserError(f"metadata: there is no file {metadata}; check the path, or leave it empty.")
    book = Book.open(folder, metadata, encoding, key="input")
    unwanted = left_out.read(folder)
    names = [name for name in book.names if name not in unwanted]
    if not names:
        raise no_images(
            "input", folder, [*book.skipped, *(Skipped(name, "is left out by hand") for name in book.names)]
        )
    tokenizer = Tokenizer.shipped()
    captions = {name: book.entry(name).prompt or folder_meaning(folder, name)[1] for name in names}
    made = report(
        folder,
        names,
        resolution=resolution,
        captions=captions,
        count_tokens=tokenizer.count,
        longest=tokenizer.room,
        trigger=trigger,
        progress=progress,
        check=stop,
    )
    return replace(
        made,
        skipped=tuple(book.skipped),
        without_caption=sum(not caption for caption in captions.values()),
        warnings=tuple(book.warnings),
        advice=(*made.advice, *_on_repeats(folder, names)),
    )


def _on_repeats(folder: Path, names: Sequence[str]) -> list[str]:
    """A sentence where folders say by their names how often their images are shown."""
    counts = Counter(folder_meaning(folder, name, otherwise=0)[0] for name in names)
    own = sorted(repeats for repeats in counts if repeats)
    if not own:
        return []
    rest = f"; the {counts[0]} others take num_repeats" if counts[0] else "; num_repeats is not used"
    return [f"Folder names set the repeats of {len(names) - counts[0]} pictures ({', '.join(map(str, own))}){rest}."]


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
    said += [f"kept      {name}, in place of {', '.join(copies)}" for name, copies in made.kept.items()]
    said += [f"skipped   {one.name}: {one.reason}" for one in made.skipped]
    said += [f"warning   {text}" for text in made.warnings]
    if made.without_caption:
        said.append(f"captions  {made.without_caption} of {len(made.verdicts)} pictures have none")
    told = made.settings
    said += [f"advice    {text}" for text in made.advice]
    return [*said, f"settings  repeats {told.repeats}, epochs {told.epochs}, rank {told.rank}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="check_dataset.py", description="Say which pictures are fit to train on.")
    parser.add_argument("--input", required=True, type=path, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--metadata", type=path, metavar="CSV", help="empty takes metadata.csv in that folder")
    parser.add_argument(
        "--resolution", type=int, default=512, help="side the base model was trained at: 512, 768, 1024"
    )
    parser.add_argument("--encoding", default="", metavar="NAME", help=ENCODING_HELP)
    parser.add_argument("--trigger", default="", metavar="WORD", help="the trigger word, to look for in the captions")
    parser.add_argument("--leave-out", action="store_true", help="do not train on the bad ones from now on")
    return parser
