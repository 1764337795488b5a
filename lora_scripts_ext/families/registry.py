"""The families of base models, by name and by how a model shows them."""

from __future__ import annotations

from collections.abc import Sequence

from .chroma import Chroma
from .family import Family
from .flux import Flux
from .sd1 import StableDiffusion1
from .sd2 import StableDiffusion2
from .sdxl import StableDiffusionXL

FAMILIES: tuple[Family, ...] = (StableDiffusion1(), StableDiffusion2(), StableDiffusionXL(), Chroma(), Flux())

_BY_NAME = {family.name: family for family in FAMILIES}
_BY_CLASS = {family.class_name: family for family in FAMILIES}


def by_name(name: str) -> Family:
    """The family of a ``ModelInfo.family``.

    Raises:
        KeyError: there is none.
    """
    return _BY_NAME[name]


def short_titles() -> str:
    """All families as a sentence lists them: "SD1, SD2 or SDXL"."""
    *others, last = (family.short_title for family in FAMILIES)
    return f"{', '.join(others)} or {last}"


def by_class(class_name: str) -> Family | None:
    """The family whose models are of this class; None for classes that cannot be trained."""
    return _BY_CLASS.get(class_name)


def by_encoders(open_clip: Sequence[bool]) -> Family:
    """The Stable Diffusion with these text encoders, for each whether it is open_clip's.

    Raises:
        KeyError: there is none.
    """
    for family in FAMILIES:
        if [layout.open_clip for layout in family.text_encoders] == list(open_clip):
            return family
    raise KeyError(f"no family has text encoders {list(open_clip)}")
