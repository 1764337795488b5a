"""The product found by a model of the package rembg, where that is installed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import threads
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
_NO_CHECKSUM = "MODEL_CHECKSUM_DISABLED"
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


def require(model: str = DEFAULT) -> None:
    """Raise what :func:`alpha` would for any image.

    Raises:
        UserError: the model may not be used, is not there or cannot be read, or rembg is not installed.
    """
    _session(model)


def alpha(pixels: Image.Image, model: str = DEFAULT) -> Image.Image:
    """How much of each pixel is product, mode L of the image's size. Nothing is downloaded.

    Raises:
        UserError: as for :func:`require`.
    """
    session = _session(model)
    with threads.restored():
        found = importlib.import_module("rembg").remove(pixels, session=session, only_mask=True)
    return Image.fromarray(np.asarray(found)).convert("L")


def _session(model: str) -> Any:
    """rembg's session with this model."""
    require_licence(model)
    # A training or an image made afterwards in this process must be rounded as before.
    with threads.restored():
        try:
            importlib.import_module("rembg")
        except ImportError as error:
            raise UserError(
                "Finding a product in its photo needs the package rembg, which is not installed; run "
                "`pip install rembg[cpu]`."
            ) from error
        return _loaded(model, _file(model))


def _file(model: str) -> Path:
    """Where the model is: rembg would fetch a missing one by itself, and the user has to say so."""
    from rembg.sessions.base import BaseSession

    name = f"{model}.onnx"
    # Before 2.0.70 all models lay in one folder; later each has its own, and the old one is read, too.
    of_old = getattr(BaseSession, "legacy_home", BaseSession.u2net_home)
    folders = [Path(of_old())]
    if hasattr(BaseSession, "rembg_home"):
        folders.insert(0, Path(BaseSession.rembg_home(), "models", model))
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"rembg's model {name} is not on this machine; put it into {folders[0]}, or fetch it once with "
        f"python -c \"import rembg; rembg.new_session('{model}')\"."
    )


@lru_cache(maxsize=1)
def _loaded(model: str, file: Path) -> Any:
    """The session, kept: loading takes seconds."""
    with _without_checksums():
        try:
            return importlib.import_module("rembg").new_session(model)
        except Exception as error:  # onnxruntime's errors have no class in common
            raise UserError(f"{file}: this model of rembg's cannot be read ({error}); fetch it again.") from error


@contextmanager
def _without_checksums() -> Iterator[None]:
    """rembg before 2.0.70 downloads a model again whose checksum it does not know, as of one in half precision."""
    before = os.environ.get(_NO_CHECKSUM)
    os.environ[_NO_CHECKSUM] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_NO_CHECKSUM]
        else:
            os.environ[_NO_CHECKSUM] = before
