"""The exceptions whose text is meant for the user."""

from __future__ import annotations


class UserError(Exception):
    """Bad input, in one sentence: what is wrong, where (file, key), what to do about it."""


class TrainingError(Exception):
    """A run that went wrong though its input could be read, in one sentence: what happened and what to do about it."""
