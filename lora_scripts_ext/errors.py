"""The one exception whose text is meant for the user."""

from __future__ import annotations


class UserError(Exception):
    """Bad input, said in one sentence: what is wrong, where (file, key), what to do about it."""


class NotFinite(UserError):
    """Values became NaN or infinite during a run: it cannot end well and is not continued."""
