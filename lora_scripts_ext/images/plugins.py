"""Packages that teach Pillow further formats, brought in when the first file asks for them."""

from __future__ import annotations

import importlib
from functools import cache

# By format: module, and the function that registers it with Pillow, where importing does not.
_PLUGINS = {
    "HEIC": ("pillow_heif", "register_heif_opener"),
    "AVIF": ("pillow_avif", None),
    "JPEG XL": ("pillow_jxl", None),
}
# Pillow 11.3 and later reads these by itself, where it was built so.
_OWN = {"AVIF": "avif"}


@cache
def bring(kind: str | None) -> None:
    """Register what decodes ``kind`` (as ``kinds.of_content`` names it), where it is needed and installed."""
    if kind not in _PLUGINS or _known(kind):
        return
    module, register = _PLUGINS[kind]
    try:
        plugin = importlib.import_module(module)
    except ImportError:
        return
    if register is not None:
        getattr(plugin, register)()


def _known(kind: str) -> bool:
    from PIL import features

    # A Pillow before 11.3 warns of a feature that it does not know.
    return kind in _OWN and _OWN[kind] in features.modules and bool(features.check(_OWN[kind]))
