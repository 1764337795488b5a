"""A point in time as an argument."""

from __future__ import annotations

import argparse

from .. import time_text
from ..errors import UserError


def seconds(text: str) -> float:
    """Seconds since the epoch; see ``time_text``.

    Raises:
        argparse.ArgumentTypeError: it is no time.
    """
    try:
        return time_text.seconds(text, "the time")
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from error
