"""Content Credentials (C2PA): a signed statement of how the image was made, by the operator's own certificate."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import UserError
from . import iptc
from .iptc import Source

ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")
# A thumbnail would weigh as much as a channel allows a whole image.
_SETTINGS = {"builder": {"thumbnail": {"enabled": False}}}


@dataclass(frozen=True)
class Credentials:
    """What files are signed with.

    Attributes:
        certificate: PEM file with the certificate and those that it was issued by, the own one first.
        key: PEM file with its private key, PKCS #8, without a password.
        algorithm: one of ``ALGORITHMS``, that of the key.
        timestamp_url: of a time-stamping service (RFC 3161); empty for none.
    """

    certificate: Path
    key: Path
    algorithm: str = "es256"
    timestamp_url: str = ""


def check(credentials: Credentials) -> None:
    """Try them on an image of one pixel, before the first that counts. No time is asked for.

    Raises:
        UserError: as for :func:`signed`.
    """
    pixel = io.BytesIO()
    Image.new("L", (1, 1)).save(pixel, "PNG")
    signed(pixel.getvalue(), "image/png", iptc.DRAWN, replace(credentials, timestamp_url=""))


def signed(content: bytes, mime: str, source: Source, credentials: Credentials) -> bytes:
    """The file's ``content`` with a manifest that says it was created by a model.

    Raises:
        UserError: the package is missing, the certificate or key cannot be read, or they do not fit.
    """
    package = _package()
    out = io.BytesIO()
    try:
        with (
            package.Context.from_dict(_SETTINGS) as context,
            _signer(package, credentials) as signer,
            package.Builder(_manifest(source), context) as builder,
        ):
            builder.sign(signer, mime, io.BytesIO(content), out)
    except package.C2paError as error:
        raise UserError(
            f"c2pa: the image cannot be signed with {credentials.certificate} ({error}); check that certificate, key "
            f"and algorithm {credentials.algorithm} belong together."
        ) from error
    return out.getvalue()


def _package() -> Any:
    try:
        import c2pa
    except (ImportError, OSError) as error:
        raise UserError(
            "Content Credentials need c2pa-python; install it with pip install c2pa-python, or leave out the "
            "certificate."
        ) from error
    if not hasattr(c2pa, "Context"):
        raise UserError("c2pa-python is too old for Content Credentials; update it with pip install -U c2pa-python.")
    return c2pa


def _signer(package: Any, credentials: Credentials) -> Any:
    if credentials.algorithm not in ALGORITHMS:
        raise UserError(f"c2pa: algorithm is {credentials.algorithm!r}, expected one of {', '.join(ALGORITHMS)}.")
    certificate, key = (_pem(path) for path in (credentials.certificate, credentials.key))
    url = credentials.timestamp_url.encode() or None
    return package.Signer.from_info(package.C2paSignerInfo(credentials.algorithm, certificate, key, url))


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"c2pa: {path} cannot be read ({error.strerror}); check the path.") from error


def _manifest(source: Source) -> dict[str, Any]:
    created = {"action": "c2pa.created", "digitalSourceType": iptc.uri(source)}
    return {
        "claim_generator_info": [{"name": "LoRA Trainer"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
    }
