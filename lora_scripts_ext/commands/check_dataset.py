"""``check_dataset.py``'s command line: a verdict for every image of a folder, and advice for the dataset."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..captioning.base import CaptionerOptions
from ..captions.text_file import ENCODING_HELP
from ..errors import UserError
from ..images import excluded
from ..preparation.check import bad, check
from ..preparation.report import Report
from ..products.safety import WordList
from ..terminal import (
    BAD_INPUT,
    DONE,
    STOPPED,
    accept_any_encoding,
    count,
    path,
    print_error,
    print_json,
    print_line,
    print_message,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``check_dataset.py``; returns the exit code: 0 done, 2 bad input, 130 stopped (what is measured is kept)."""
    accept_any_encoding()
    options = _parser().parse_args(arguments)
    try:
        report = _report(options)
        for line in lines(report):
            print_line(line)
        if options.leave_out:
            excluded.write(options.input, bad(report) | excluded.read(options.input))
        print_json(report.to_dict())
    except (UserError, OSError) as error:
        print_error(error)
        return BAD_INPUT
    except KeyboardInterrupt:
        print_message("stopped; what is measured is kept for the next time.")
        return STOPPED
    return DONE


def _report(options: argparse.Namespace) -> Report:
    words = WordList.load(options.words) if options.words else None
    looks = None
    if options.logos:
        # It needs torch, for which nobody should wait who does not ask for it.
        from ..captioning import logos

        looks = logos.make(CaptionerOptions(endpoint=options.endpoint, key_from=options.key_from, model=options.model))
    try:
        return check(
            options.input, options.metadata, options.resolution, options.trigger, count, encoding=options.encoding,
            words=words, logos=looks,
        )  # fmt: skip
    finally:
        if looks is not None:
            looks.close()


def lines(report: Report) -> list[str]:
    """The report for a person."""
    lines = [f"{len(report.verdicts)} images: {report.count('good')} good, {report.count('doubtful')} doubtful, "
            f"{report.count('bad')} bad"]  # fmt: skip
    for grade in ("bad", "doubtful"):
        for one in report.verdicts:
            if one.grade == grade:
                lines.append(f"{grade:9} {one.name}: {'; '.join(reason.text for reason in one.reasons)}")
    lines += [f"kept      {name}, in place of {', '.join(copies)}" for name, copies in report.kept.items()]
    lines += [f"skipped   {one.name}: {one.reason}" for one in report.skipped]
    lines += [f"warning   {text}" for text in report.warnings]
    if report.without_caption:
        lines.append(f"captions  {report.without_caption} of {len(report.verdicts)} images have none")
    suggested = report.settings
    lines += [f"advice    {text}" for text in report.advice]
    return [*lines, f"settings  repeats {suggested.repeats}, epochs {suggested.epochs}, rank {suggested.rank}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="check_dataset.py", description="Say which images are fit to train on.")
    parser.add_argument("--input", required=True, type=path, metavar="DIR", help="folder of the images")
    parser.add_argument("--metadata", type=path, metavar="CSV", help="empty takes metadata.csv in that folder")
    parser.add_argument(
        "--resolution", type=int, default=512, help="side the base model was trained at: 512, 768, 1024"
    )
    parser.add_argument("--encoding", default="", metavar="NAME", help=ENCODING_HELP)
    parser.add_argument("--trigger", default="", metavar="WORD", help="the trigger word, to look for in the captions")
    parser.add_argument(
        "--words", type=path, metavar="FILE", help="YAML with forbidden words and competitors' names to warn of"
    )
    parser.add_argument("--logos", action="store_true", help="warn of images that show a logo, a watermark or text")
    parser.add_argument(
        "--endpoint", default="", metavar="URL", help="service that looks for logos; images are sent there only"
    )
    parser.add_argument("--key-from", default="", metavar="VARIABLE", help="environment variable with its key")
    parser.add_argument(
        "--model", default="", help="the service's model, or without one the folder or hub name of a CLIP model"
    )
    parser.add_argument("--leave-out", action="store_true", help="do not train on the bad ones from now on")
    return parser
