"""A caption kept as what it is made of: subject, attributes, scene, style."""

from __future__ import annotations

import string
from dataclasses import dataclass

from ..dataset.caption import tidy
from ..errors import UserError

#: how a caption is put together when nobody says otherwise; an empty field takes its comma along
TEMPLATE = "{subject}, {attributes}, {scene}, {style}"
NAMES = ("subject", "attributes", "scene", "style")


@dataclass(frozen=True)
class Fields:
    """What a picture shows. All of it may be empty.

    Attributes:
        attributes: each a word or short phrase, such as ``matte finish``.
    """

    subject: str = ""
    attributes: tuple[str, ...] = ()
    scene: str = ""
    style: str = ""


def check(template: str) -> None:
    """Refuse a template that cannot be filled in.

    Raises:
        UserError: it is not a format string, or names other fields than a caption has.
    """
    try:
        asked = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise UserError(f"template {template!r}: {error}; write for example {TEMPLATE!r}.") from error
    unknown = sorted(asked - set(NAMES))
    if unknown or not asked:
        raise UserError(f"template {template!r}: use at least one of {', '.join(NAMES)} in braces, and nothing else.")


def join(fields: Fields, template: str = TEMPLATE) -> str:
    """The caption: ``template`` filled in, without the empty places.

    Raises:
        UserError: as :func:`check`.
    """
    check(template)
    filled = template.format(
        subject=fields.subject, attributes=", ".join(fields.attributes), scene=fields.scene, style=fields.style
    )
    return tidy(", ".join(part for part in (piece.strip() for piece in filled.split(",")) if part))
