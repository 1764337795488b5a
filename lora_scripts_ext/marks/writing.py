"""An image to a file that says how it was made."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from .. import files
from ..config_check import shown
from ..errors import UserError
from . import c2pa, profile, xmp
from . import label as labels
from .c2pa import Credentials
from .formats import FORMATS, TRANSPARENT, Format
from .label import Label

#: of a JPEG or WebP
QUALITY = 92


def encode(
    image: Image.Image,
    format: Format,
    *,
    label: Label,
    parameters: str | None = None,
    quality: int = QUALITY,
    credentials: Credentials | None = None,
) -> bytes:
    """The content of a file with the image and its marks; nothing that ``image`` itself carries comes along.

    The same arguments give the same bytes, but for ``credentials``: a signature has a time.

    Args:
        image: in sRGB; transparency is laid on white where the format has none.
        format: of the file.
        label: who made the image, and how.
        parameters: the generation parameters, as WebUIs write them; None or empty leaves them out.
        quality: 1 to 100, of a JPEG or WebP.
        credentials: signs the file as C2PA wants it.

    Raises:
        UserError: the label cannot be written, the parameters do not fit, or signing fails.
    """
    if format not in FORMATS:
        raise UserError(f"format: {shown(format)} is none that is written; take one of {', '.join(FORMATS)}.")
    labels.check(label)
    form = FORMATS[format]
    content = form.encoded(_bare(image, format), xmp.packet(label), _text(parameters), quality, profile.srgb())
    return content if credentials is None else c2pa.signed(content, form.MIME, label.source, credentials)


def write(
    image: Image.Image,
    path: Path,
    format: Format,
    *,
    label: Label,
    parameters: str | None = None,
    quality: int = QUALITY,
    credentials: Credentials | None = None,
) -> None:
    """Write the file of :func:`encode`, whole or not at all.

    Raises:
        UserError: as for :func:`encode`.
    """
    content = encode(image, format, label=label, parameters=parameters, quality=quality, credentials=credentials)
    files.write_bytes(path, content)


def _text(parameters: str | None) -> str:
    """The parameters without what no file can hold: halves of characters, and the end of a text in PNG."""
    return (parameters or "").encode("utf-8", "replace").decode("utf-8").replace("\0", "")


def _bare(image: Image.Image, format: Format) -> Image.Image:
    """The pixels alone: Pillow would write some of what it has read with them."""
    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    bare = image.convert("RGBA" if has_alpha else "RGB")
    if has_alpha and format not in TRANSPARENT:
        bare = Image.alpha_composite(Image.new("RGBA", bare.size, "white"), bare).convert("RGB")
    bare = bare.copy()
    bare.info = {}
    return bare
