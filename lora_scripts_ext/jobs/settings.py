"""What users may set about the server, wherever that is kept: in the library, or by the program that jobs run in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .. import json_text
from ..config_check import shown
from ..errors import Refused, UserError
from ..library import window
from ..library.database import Database

#: keys of what counts wherever jobs run: it is always kept in the library
REQUIRE_APPROVAL, CONTACT_SHEET = "require_approval", "contact_sheet"
AT_ONCE, AT_THE_TIME = "as soon as possible", "only at a time of day"
CONTINUES, WAITS = "continues by itself", "waits until someone lets it continue"


@dataclass(frozen=True)
class Setting:
    """One of them, as a form needs it.

    Attributes:
        key: by which it is known.
        group, label, help: what a form says.
        type: ``window``: times of day such as 22:00-06:00; ``flag``: true or false.
        default: its value where nobody has set it.
        choices: the values of a ``choice``.
        low, high: of a ``number``.
        needs: key and value of another setting without which it has no effect; empty where it always has.
    """

    key: str
    group: str
    label: str
    help: str
    type: Literal["choice", "number", "window", "flag"]
    default: Any
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    needs: tuple[str, str] | tuple[()] = ()

    def checked(self, value: Any) -> Any:
        """``value`` as it is kept.

        Raises:
            UserError: it is none for this setting.
        """
        if self.type == "choice":
            if value not in self.choices:
                raise UserError(f"{self.key}: {shown(value)} is none of: {'; '.join(self.choices)}.")
        elif self.type == "flag":
            if not isinstance(value, bool):
                raise UserError(f"{self.key}: {shown(value)} is neither true nor false.")
        elif self.type == "number":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not self.low <= value <= self.high:
                raise UserError(f"{self.key}: {shown(value)} is no number from {self.low:g} to {self.high:g}.")
        else:
            try:
                window.parse(value if isinstance(value, str) else "")
            except UserError as error:
                text = f"{self.key}: {shown(value)} is no time of day; write it like 22:00-06:00."
                raise UserError(text) from error
            return value.strip()
        return value


class Settings(Protocol):
    """The settings of a server. Methods may be called from any thread."""

    @property
    def all(self) -> tuple[Setting, ...]:
        """Every one, in the order of a form."""

    @property
    def where(self) -> str:
        """Where they are kept, as a phrase."""

    def get(self, key: str) -> Any:
        """The value of one."""

    def is_editable(self, key: str) -> bool:
        """Whether it can be changed here."""

    def set(self, values: Mapping[str, Any]) -> None:
        """Keep these values, which are right for their settings.

        Raises:
            UserError: they cannot be kept.
        """


def change(settings: Settings, values: Mapping[str, Any]) -> None:
    """Set all of ``values``, or none where one is wrong.

    Raises:
        UserError: there is no such setting, or a value is wrong.
        Refused: it cannot be changed here.
    """
    known = {one.key: one for one in settings.all}
    if unknown := [key for key in values if key not in known]:
        raise UserError(f"values: there is no setting {shown(unknown[0])}; there are {', '.join(known)}.")
    checked = {key: known[key].checked(value) for key, value in values.items()}
    if fixed := [key for key in values if not settings.is_editable(key)]:
        raise Refused(f"{fixed[0]}: it cannot be changed here; its place is {settings.where}.")
    settings.set(checked)


#: of a library, also where the program that jobs run in keeps the rest
REVIEW = (
    Setting(
        REQUIRE_APPROVAL, "Review", "Publish only approved LoRAs",
        "A finished training stays unpublished until someone approves it and publishes it.",
        "flag", False,
    ),
    Setting(
        CONTACT_SHEET, "Review", "Draw a contact sheet after each training of a model",
        "Its checkpoints at several strengths, for prompts that it was not trained on.",
        "flag", False,
    ),
)  # fmt: skip


class LibrarySettings:
    """Those of a library, for every worker and server that shares it."""

    all = (
        Setting(
            "start", "Queue", "Queued trainings begin",
            "A job with times of day of its own keeps to those. Captioning and checks begin at once.",
            "choice", AT_ONCE, (AT_ONCE, AT_THE_TIME),
        ),
        Setting(
            "start_window", "Queue", "Time of day at which queued trainings begin",
            "In the server's time. What has begun goes on after it.",
            "window", "22:00-06:00", needs=("start", AT_THE_TIME),
        ),
        Setting(
            "restart", "Queue", "After a restart of the server the queue",
            "What was interrupted goes on from its last saved state, as soon as the queue does.",
            "choice", CONTINUES, (CONTINUES, WAITS),
        ),
        *REVIEW,
    )  # fmt: skip
    where = "the library in the data folder"

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str) -> Any:
        """See ``Settings.get``."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT value FROM settings WHERE key = ?", [_row(key)]).fetchone()
        default = next(one.default for one in self.all if one.key == key)
        return default if row is None else json.loads(row[0])

    def is_editable(self, key: str) -> bool:
        """All of them are."""
        return True

    def set(self, values: Mapping[str, Any]) -> None:
        """See ``Settings.set``."""
        with self._database.writing() as connection:
            for key, value in values.items():
                row = [_row(key), json_text.dumps(value)]
                connection.execute("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", row)


def _row(key: str) -> str:
    return f"setting:{key}"
