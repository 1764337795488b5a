"""Captioners by their names."""

from __future__ import annotations

import difflib
import importlib
from importlib.util import find_spec

from ..errors import UserError
from .base import Captioner, CaptionerOptions

# name -> module here, class, what it needs, which options it reads
_KNOWN: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "names": ("file_names", "FileNames", "nothing: reads file and folder names", ()),
    "blip": ("blip", "Blip", "transformers and a BLIP model", ("model",)),
    "florence": ("florence", "Florence", "a transformers that has Florence-2, and its model", ("model",)),
    "vit": ("classify", "Classify", "transformers and an image classifier", ("model",)),
    "clip": ("clip_rank", "ClipRank", "transformers, a CLIP model and a file of your own words", ("words", "model")),
    "wd14": ("wd14", "Wd14", "onnxruntime and the folder of a WD14 tagger", ("model",)),
    "interrogate": ("interrogator", "Interrogator", "a WebUI, with its BLIP", ()),
    "deepbooru": ("interrogator", "DeepBooru", "a WebUI, with its DeepBooru", ()),
    "endpoint": (
        "endpoint", "Endpoint", "the address of an OpenAI-compatible service", ("endpoint", "model", "key_from"),
    ),
}  # fmt: skip
NAMES = ("auto", *_KNOWN)


def known() -> list[tuple[str, str, tuple[str, ...]]]:
    """Each captioner's name, what it needs, and which of a captioning's options it reads."""
    return [(name, needs, options) for name, (_, _, needs, options) in _KNOWN.items()]


def make(options: CaptionerOptions) -> Captioner:
    """The captioner that ``options`` name; ``auto`` takes BLIP where it is on this machine, else the file names.

    Raises:
        UserError: there is none of that name, or what it needs is not there.
    """
    if options.captioner == "auto":
        return _best(options)
    if options.captioner not in _KNOWN:
        near = difflib.get_close_matches(options.captioner, NAMES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"valid: {', '.join(NAMES)}."
        raise UserError(f"captioner is {options.captioner!r}; {hint}")
    module, kind, _, _ = _KNOWN[options.captioner]
    captioner_class = getattr(importlib.import_module(f".{module}", __package__), kind)
    return captioner_class() if options.captioner == "names" else captioner_class(options)


def _best(options: CaptionerOptions) -> Captioner:
    from .file_names import FileNames

    if find_spec("transformers") is None:
        return FileNames()
    from .blip import Blip

    try:
        return Blip(options)
    except UserError:
        if options.model:
            raise
        return FileNames()
