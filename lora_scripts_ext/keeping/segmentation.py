"""The product found by a model of the package rembg, where that is installed."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError

DEFAULT = "isnet-general-use"
#: rembg's names of models that may be used commercially -> their licence
LICENCES = {
    "isnet-general-use": "Apache-2.0",
    "u2net": "Apache-2.0",
    "u2netp": "Apache-2.0",
    "silueta": "Apache-2.0",
    "birefnet-general": "MIT",
    "birefnet-general-lite": "MIT",
    "birefnet-massive": "MIT",
    "birefnet-hrsod": "MIT",
    "birefnet-dis": "MIT",
}
_NON_COMMERCIAL = {"bria-rmbg": "CC BY-NC 4.0"}


def require_licence(model: str) -> None:
    """Refuse what a shop may not use.

    Raises:
        UserError: the model's licence forbids commercial use, or is not known.
    """
    if model in LICENCES:
        return
    known = ", ".join(LICENCES)
    if model in _NON_COMMERCIAL:
        raise UserError(
            f"The cut-out model {model} is under {_NON_COMMERCIAL[model]}, which forbids commercial use; choose one "
            f"of: {known}."
        )
    raise UserError(f"The licence of the cut-out model {model} is not known here; choose one of: {known}.")


def alpha(pixels: Image.Image, model: str) -> Image.Image:
    """How much of each pixel is product, mode L of the image's size. Nothing is downloaded.

    Raises:
        UserError: the model may not be used, is not there, or rembg is not installed.
    """
    require_licence(model)
    try:
        rembg = importlib.import_module("rembg")
    except ImportError as error:
        raise UserError(
            "The package rembg, which finds a product before any background, is not installed; run "
            "`pip install rembg[cpu]`, or give the photo a transparent background or a mask."
        ) from error
    file = _folder() / f"{model}.onnx"
    if not file.is_file():
        raise UserError(f"{file}: there is no such file; download this model of rembg's and put it there.")
    found = rembg.remove(pixels, session=rembg.new_session(model), only_mask=True)
    return Image.fromarray(np.asarray(found)).convert("L")


def _folder() -> Path:
    """Where rembg keeps its models."""
    home = os.environ.get("U2NET_HOME") or f"{os.environ.get('XDG_DATA_HOME', '~')}/.u2net"
    return Path(home).expanduser()
