"""The exceptions whose text is meant for the user."""

from __future__ import annotations


class UserError(Exception):
    """Bad input, in one sentence: what is wrong, where (file, key), what to do about it."""


class NotFound(UserError):
    """What an id names is not there."""


class Conflict(UserError):
    """What is asked for does not fit the state that something is in."""


class Refused(UserError):
    """What is asked for may not be done on behalf of whoever asks."""


class TrainingError(Exception):
    """A run that went wrong though its input could be read, in one sentence: what happened and what to do about it."""


class Interrupted(Exception):
    """Someone has stopped the host while it drew; nothing that it was drawing is whole."""
