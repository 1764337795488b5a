"""``check_dataset.py``'s command line: a verdict for every image of a folder, and advice for the dataset."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..captions.text_file import ENCODING_HELP
from ..errors import UserError
from ..images import excluded
from ..preparation.check import bad, check
from ..preparation.report import Report
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
        report = check(
            options.input, options.metadata, options.resolution, options.trigger, count, encoding=options.encoding
        )
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
    parser.add_argument("--leave-out", action="store_true", help="do not train on the bad ones from now on")
    return parser
