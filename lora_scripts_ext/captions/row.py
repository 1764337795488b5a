"""A row of a caption table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What a table says of one image.

    Attributes:
        file: the image's name as it is written.
        caption: on one line; empty where there is none.
        line: of the file, from 1.
        doubt: why the caption cannot be read though there is one; empty where it can. It goes after the row's name.
    """

    file: str
    caption: str
    line: int
    doubt: str = ""
