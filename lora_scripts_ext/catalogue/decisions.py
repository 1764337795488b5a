"""What people decide about candidates: approved, rejected, remarked, which part is used, by whom and when."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import Conflict, UserError
from . import candidates
from .candidates import Candidate, Crop
from .store import Catalogue, refresh

Said = Literal["approved", "rejected", "undecided", "comment"]
_LONGEST_COMMENT, _LONGEST_NAME = 4000, 100
_LEAST_SHARE = 0.05
_now = time.time


@dataclass(frozen=True)
class Decision:
    """What someone has said about a candidate.

    Attributes:
        id: grows with each.
        number: of the candidate.
        crop: the part of the image that is used; None for all of it.
        who: empty where that is not known.
        created: in seconds since the epoch.
    """

    id: int
    number: int
    verdict: Said
    comment: str
    crop: Crop | None
    who: str
    created: float


def decide(
    catalogue: Catalogue,
    product: int,
    number: int,
    verdict: Said,
    *,
    crop: Crop | None = None,
    comment: str = "",
    who: str = "",
) -> Decision:
    """Note what someone says about a candidate. Of a product several may be approved: they are in that order.

    ``undecided`` takes back what was decided, and its crop.

    Raises:
        NotFound: there is no such candidate.
        Conflict: it is not drawn.
        UserError: a value cannot be used.
    """
    comment, who = comment.strip(), who.strip()
    _check(verdict, crop, comment, who)
    # The candidate is read in the transaction: it must not be decided about while it is drawn again.
    with catalogue.writing() as connection:
        candidate = candidates.get(catalogue, product, number)
        if candidate.state != "drawn":
            raise Conflict(f"number: candidate {number} is not drawn; wait for it, or draw it again.")
        text = json.dumps(list(crop)) if crop else ""
        created = _now()
        id = connection.execute(
            "INSERT INTO decisions (candidate, verdict, comment, crop, who, created) VALUES (?, ?, ?, ?, ?, ?)",
            [candidate.id, verdict, comment, text, who, created],
        ).lastrowid
        if verdict == "undecided":
            query = "UPDATE candidates SET verdict = '', crop = '', decision = NULL WHERE id = ?"
            connection.execute(query, [candidate.id])
        elif verdict != "comment":
            # Who crops an approved image again does not change its place.
            place = candidate.decision if candidate.verdict == verdict else id
            connection.execute(
                "UPDATE candidates SET verdict = ?, crop = ?, decision = ? WHERE id = ?",
                [verdict, text, place, candidate.id],
            )
        refresh(connection, product)
    return Decision(id or 0, number, verdict, comment, crop, who, created)


def crop_of(values: Sequence[float]) -> Crop:
    """A crop of four numbers.

    Raises:
        UserError: they are not four.
    """
    if len(values) != 4:
        raise UserError(f"crop: it has {len(values)} numbers; give left, top, right and bottom.")
    left, top, right, bottom = values
    return left, top, right, bottom


def of_product(catalogue: Catalogue, product: int) -> list[Decision]:
    """The decisions about a product's candidates, the newest first."""
    query = (
        "SELECT decisions.*, number FROM decisions JOIN candidates ON candidate = candidates.id WHERE product = ? "
        "ORDER BY decisions.id DESC"
    )
    with catalogue.reading() as connection:
        rows = connection.execute(query, [product]).fetchall()
    return [
        Decision(
            row["id"], row["number"], row["verdict"], row["comment"],
            tuple(json.loads(row["crop"])) if row["crop"] else None, row["who"], row["created"],
        )
        for row in rows
    ]  # fmt: skip


def approval(catalogue: Catalogue, candidate: Candidate) -> Decision | None:
    """The last decision by which a candidate is approved; None where it is not."""
    if candidate.verdict != "approved":
        return None
    found = (one for one in of_product(catalogue, candidate.product) if one.number == candidate.number)
    return next(one for one in found if one.verdict == "approved")


def _check(verdict: Said, crop: Crop | None, comment: str, who: str) -> None:
    if verdict == "comment" and not comment:
        raise UserError("comment: it is empty; write what is to be said.")
    if len(comment) > _LONGEST_COMMENT:
        raise UserError(f"comment: it has {len(comment)} characters, at most {_LONGEST_COMMENT} are kept; shorten it.")
    if len(who) > _LONGEST_NAME or not who.isprintable():
        raise UserError(f"who: it must be a name of at most {_LONGEST_NAME} characters on one line; correct it.")
    if crop is None:
        return
    left, top, right, bottom = crop
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1) or min(right - left, bottom - top) < _LEAST_SHARE:
        raise UserError(
            "crop: left, top, right and bottom must be shares of the sides from 0 to 1, the part at least "
            f"{_LEAST_SHARE:.0%} of each; correct it."
        )
