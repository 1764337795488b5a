"""What ControlNet is given, in the words that its extension for WebUIs and Forge's own understand over their APIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import Any

from ..contract import Control
from ..errors import UserError


def unit(control: Control) -> dict[str, Any]:
    """A unit of ControlNet; the image is scaled and cropped to the size that is drawn."""
    buffer = io.BytesIO()
    control.image.convert("RGB").save(buffer, format="PNG", compress_level=1)
    return {
        "enabled": True,
        "module": control.preprocessor or "None",
        "model": control.model or "None",
        "weight": control.weight,
        "image": base64.b64encode(buffer.getvalue()).decode(),
        "resize_mode": "Crop and Resize",
        "pixel_perfect": True,
        "save_detected_map": False,
    }


def named(wanted: str, names: Iterable[str]) -> str:
    """The one of ``names`` that is meant by ``wanted``, which may lack the hash in brackets at the end.

    Raises:
        UserError: there is none.
    """
    known = list(names)
    for name in known:
        if wanted.lower() in (name.lower(), name.lower().rpartition(" [")[0]):
            return name
    some = ", ".join(known[:20]) or "none"
    raise UserError(f"ControlNet has no {wanted!r} in this WebUI; it has: {some}.")
