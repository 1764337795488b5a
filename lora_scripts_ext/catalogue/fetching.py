"""Files that a list names by their address: fetched once, into the catalogue's folder, and read from there."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from .. import file_name, files
from ..captioning import exchange
from ..errors import UserError
from ..products import addresses
from .store import Catalogue

_FOLDER = "fetched"
_HEADERS = {"Accept": "image/*", "User-Agent": "LoRA-Trainer"}
_LARGEST = 64 << 20
_SECONDS = 60.0
_DIGITS = 16
# What stands in an address as it is (RFC 3986); everything else, such as Chinese, is sent in percent signs.
_WRITABLE = ":/?#[]@!$&'()*+,;=%"


def reading(catalogue: Catalogue, readable: Callable[[str], Path]) -> Callable[[str], Path]:
    """``readable`` for paths, and for addresses the file that is fetched; both raise a UserError where they may not."""
    allowed, folder = catalogue.settings().photos_from, catalogue.folder / _FOLDER

    def path(written: str) -> Path:
        if not addresses.is_address(written):
            return readable(written)
        if refusal := addresses.refusal(written, allowed):
            raise UserError(refusal)
        there = folder / _name(written)
        if not there.is_file():
            files.write_bytes(there, _fetched(written))
        return there

    return path


def _name(address: str) -> str:
    """Of the file: another for every address, and one that a person recognises."""
    digest = hashlib.sha256(address.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    own = file_name.cleaned(unquote(urlsplit(address).path).rpartition("/")[2])
    return f"{digest}-{file_name.truncated(own, file_name.LONGEST_STEM - _DIGITS - 1)}"


def _fetched(address: str) -> bytes:
    try:
        return exchange.post(quote(address, safe=_WRITABLE), None, _HEADERS, seconds=_SECONDS, largest=_LARGEST)
    except exchange.Refused as refused:
        raise UserError(f"{address} answers {refused.status}; {_help(refused.status)}") from refused
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{address} cannot be fetched ({reason}); try again once it can, or save the file and write its path."
        ) from error


def _help(status: int) -> str:
    if 300 <= status < 400:
        return "redirects are not followed, so write the address that the file really has."
    return "correct the address in the list."
