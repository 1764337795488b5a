"""A caption kept as what it is made of: subject, attributes, scene, style."""

from __future__ import annotations

from dataclasses import dataclass

from .. import pattern
from ..errors import UserError
from .caption import tidy

#: how a caption is put together when nobody says otherwise; an empty field takes its comma along
TEMPLATE = "{subject}, {attributes}, {scene}, {style}"
NAMES = ("subject", "attributes", "scene", "style")


@dataclass(frozen=True)
class Fields:
    """What an image shows. All of it may be empty.

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
        used = pattern.fields(template, dict.fromkeys(NAMES, str))
    except ValueError as error:
        raise UserError(
            f"template {template[:100]!r}: {error}; use at least one of {', '.join(NAMES)} in braces, and nothing "
            f"else, for example {TEMPLATE!r}."
        ) from error
    if not used:
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
