"""A photo that stands on the card in place of a drawing."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from ..errors import UserError
from ..images import decode
from ..keeping.cutout import cut_out


def read(path: Path, mask: Path | None = None) -> Image.Image:
    """Upright; RGBA where it has transparent parts, or a mask, which is white where the product is.

    Raises:
        UserError: it cannot be read, or the mask does not fit.
    """
    if mask is not None:
        cutout = cut_out(path, mask)
        return _with_alpha(cutout.pixels, cutout.alpha)
    try:
        decoded = decode.decode(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: this photo cannot be read ({error.strerror}); check the path.") from error
    except decode.Unreadable as error:
        raise UserError(f"{path}: this photo {error}; choose another.") from error
    return decoded.pixels if decoded.alpha is None else _with_alpha(decoded.pixels, decoded.alpha)


def _with_alpha(pixels: Image.Image, alpha: Image.Image) -> Image.Image:
    picture = pixels.convert("RGBA")
    picture.putalpha(alpha)
    return picture
