"""Where a market's law and a channel's rules contradict each other: a question that the user answers once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .channel import Channel

Answer = Literal["without", "with", "leave out"]
#: markets, as ISO 3166 calls them, whose law wants a visible mark -> the law
VISIBLE = {"CN": "GB 45438-2025"}


@dataclass(frozen=True)
class Collision:
    """A question, and the answers there are: what each is called -> what it does.

    Attributes:
        law: what wants the visible mark.
    """

    channel: str
    law: str
    question: str
    answers: dict[Answer, str]


def collision(channel: Channel, market: str) -> Collision | None:
    """What has to be asked before images for this market go to the channel; None where nothing contradicts."""
    law = VISIBLE.get(market.upper())
    if law is None or channel.visible_mark != "forbidden":
        return None
    return Collision(
        channel.name,
        law,
        f"{law} wants a visible mark on images that AI has made, and {channel.title} allows no text on them; which of "
        "the two counts?",
        {
            "without": "No mark on the image; the label stays in the file, and the page beside it has to say it.",
            "with": "The mark is drawn, and the channel may refuse the image.",
            "leave out": "No image is made for this channel.",
        },
    )


def draws_mark(channel: Channel, market: str = "", answer: Answer = "without") -> bool:
    """Whether the visible mark is drawn; ``answer`` counts where :func:`collision` asks."""
    if channel.visible_mark == "required":
        return True
    if market.upper() not in VISIBLE:
        return False
    return channel.visible_mark == "allowed" or answer == "with"
