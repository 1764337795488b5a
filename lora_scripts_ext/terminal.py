"""What the small commands have in common: exit codes, and a line that counts."""

from __future__ import annotations

import sys

DONE, BAD_INPUT, STOPPED = 0, 2, 130


def count(done: int, total: int, what: str) -> None:
    """Show on stderr how far the work is, in place."""
    print(f"\r{done} of {total} {what}", end="" if done < total else "\n", file=sys.stderr, flush=True)
