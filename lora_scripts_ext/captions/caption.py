"""The text of a caption: its comma-separated parts, the trigger word in front, shuffled variants."""

from __future__ import annotations

import math
import re
from collections import Counter

from ..config import Config
from ..random_streams import generator

_COMMA = re.compile("[,\N{FULLWIDTH COMMA}]")


def parts(caption: str) -> list[str]:
    """The tags, between commas (Latin or Chinese), trimmed, without empty ones."""
    return [part for part in (text.strip() for text in _COMMA.split(caption)) if part]


def tidy(caption: str) -> str:
    """One line, single spaces."""
    return " ".join(caption.split())


def with_trigger(caption: str, trigger: str) -> str:
    """``caption`` with ``trigger`` in front, once: a part that repeats it (in any case) is taken out."""
    own = parts(trigger)
    if not own:
        return caption
    known = {part.casefold() for part in own}
    everything = parts(caption)
    rest = [part for part in everything if part.casefold() not in known]
    if len(rest) < len(everything):
        return ", ".join(own + rest)
    return ", ".join([*own, caption]) if caption else ", ".join(own)


def of_class(caption: str, trigger: str, words: str) -> str:
    """``caption`` with ``words`` in place of the trigger word, in any case, wherever it stands as a word; with no
    ``words`` without it."""
    own = [part.casefold() for part in parts(trigger)]
    rest = [part for part in parts(caption) if part.casefold() not in own]
    for part in own:
        # ASCII: Chinese is written without spaces.
        whole = re.compile(rf"(?<!\w){re.escape(part)}(?!\w)", re.ASCII | re.IGNORECASE)
        rest = [whole.sub(lambda _: words, text) for text in rest]
    return ", ".join(part for part in map(tidy, [words, *rest]) if part)


def variants(caption: str, config: Config, trigger: str) -> tuple[str, ...]:
    """The texts a visit may show: ``caption`` itself or, with ``shuffle_caption``, distinct orders of its parts.

    The trigger's parts and the ``keep_tokens`` after them stay in place. There are ``caption_variants`` orders,
    fewer where fewer exist, and they depend on the seed and the caption only.
    """
    everything = parts(caption)
    fixed = config.keep_tokens + len(parts(trigger))
    head, tail = everything[:fixed], everything[fixed:]
    if not config.shuffle_caption or len(tail) < 2:
        return (caption,)
    repeats = math.prod(math.factorial(count) for count in Counter(tail).values())
    number = min(config.caption_variants, math.factorial(len(tail)) // repeats)
    draw = generator(config.seed, "caption", caption)
    orders: dict[str, None] = {}
    while len(orders) < number:
        orders[", ".join(head + [tail[index] for index in draw.permutation(len(tail))])] = None
    return tuple(orders)
