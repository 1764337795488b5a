"""The subject of a photo put on white, by the package rembg where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from .. import threads
from ..errors import UserError

# rembg's own choice changes from version to version, and with it the model's licence; this one's is Apache-2.0.
_MODEL = "u2net"


def available() -> bool:
    """Whether rembg is installed."""
    return find_spec("rembg") is not None


def remover() -> Callable[[Image.Image], Image.Image]:
    """What gives an RGB image back with only its subject, on white; nothing is fetched from anywhere.

    Raises:
        UserError: rembg is missing, or its model is not on this machine.
    """
    # A training or an image made afterwards in this process must be rounded as before.
    with threads.restored():
        session = _session()
    return lambda image: _without_background(image, session)


def _session() -> Any:
    """rembg's session with its model.

    Raises:
        UserError: as for :func:`remover`.
    """
    try:
        from rembg import new_session
        from rembg.sessions.u2net import U2netSession
    except ImportError as error:
        raise UserError(
            "Removing backgrounds needs rembg; install it with pip install rembg onnxruntime, or leave them."
        ) from error
    _require_model(U2netSession)
    return new_session(_MODEL)


def _without_background(image: Image.Image, session: Any) -> Image.Image:
    from rembg import remove

    with threads.restored():
        return _on_white(remove(image, session=session))


def _require_model(session: Any) -> None:
    """rembg would fetch a missing model by itself; the user has to say so."""
    name = f"{_MODEL}.onnx"
    # rembg before 2.0.70 knows one folder, later ones look into several.
    resolve = getattr(session, "resolve_existing", None)
    if resolve is not None:
        available, folder = resolve(name), Path(session.model_dir())
    else:
        folder = Path(session.u2net_home())
        available = (folder / name).is_file()
    if not available:
        raise UserError(
            f"rembg's model {name} is not on this machine; put it into {folder}, or fetch it once with "
            f"python -c \"import rembg; rembg.new_session('{_MODEL}')\"."
        )


def _on_white(cutout: Image.Image) -> Image.Image:
    white = Image.new("RGB", cutout.size, "white")
    white.paste(cutout, mask=cutout.getchannel("A"))
    return white
