"""What the commands have in common: exit codes, and output to terminals and pipes of any encoding."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import json
import re
import sys
from pathlib import Path
from typing import Any, TextIO

from . import json_text

DONE, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 130

# Control characters and those that change the direction of writing: in a file's name they would control the terminal.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def path(text: str) -> Path:
    """The path in an argument; an empty one (a shell variable that is not set) would mean the working folder."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError("it is empty; name a file or folder")
    return Path(text)


def accept_any_encoding() -> None:
    """From now on a character that stdout or stderr cannot encode is spelt out (``\\u7ea2``); call it first."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """``text`` on one line, control characters spelt out."""
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def write(text: str, stream: TextIO) -> None:
    """Write ``text`` as it is and flush; a reader that has gone away is no reason to stop the work."""
    with contextlib.suppress(BrokenPipeError):
        stream.write(text)
        stream.flush()


def print_message(text: str) -> None:
    """A line for the user, on stderr."""
    write(printable(text) + "\n", sys.stderr)


def print_error(error: Exception) -> None:
    """What went wrong, as a sentence on stderr; of an error of the system also the file and what to check."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename2 or error.filename}: " if error.filename else ""
        text = f"{name}it cannot be read or written ({error.strerror}); check the path, its rights and the free space."
    print_message(f"error: {text}")


def print_line(text: str) -> None:
    """A line of the result for a person, on stdout."""
    write(printable(text) + "\n", sys.stdout)


def print_json(value: dict[str, Any] | list[Any]) -> None:
    """The result for a program: one line of JSON on stdout, in ASCII where stdout is not UTF-8."""
    text = json_text.dumps(value) if _is_utf8(sys.stdout) else json.dumps(json_text.finite(value))
    write(text + "\n", sys.stdout)


def count(done: int, total: int, what: str) -> None:
    """Show on stderr how far the work is, in place."""
    write(f"\r{done} of {total} {what}" + ("" if done < total else "\n"), sys.stderr)


def _is_utf8(stream: TextIO) -> bool:
    # A stream without an encoding of its own, such as StringIO, takes any text.
    return codecs.lookup(stream.encoding).name == "utf-8" if getattr(stream, "encoding", None) else True
