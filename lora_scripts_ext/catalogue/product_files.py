"""The files that a row of the list names: photo, mask, control image, reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..errors import UserError
from ..images import decode
from ..models.weights import sha256
from ..products.product import located
from .product import CatalogueProduct


@dataclass(frozen=True)
class ProductFiles:
    """Paths of a product's files; None where it has none."""

    photo: Path | None
    mask: Path | None
    control: Path | None
    reference: Path | None

    @classmethod
    def of(cls, product: CatalogueProduct, folder: Path, readable: Callable[[str], Path]) -> ProductFiles:
        """Those that a list in ``folder`` and its rule name.

        Args:
            product: theirs.
            folder: what paths are relative to.
            readable: of a path or an address the file; refuses, with a UserError, what may not be read.

        Raises:
            UserError: one may not be read.
        """
        row = product.product
        written = (row.photo, row.mask, product.plan.control, row.reference)
        photo, mask, control, reference = (readable(located(one, folder)) if one else None for one in written)
        return cls(photo, mask, control, reference)

    def hashes(self) -> list[str]:
        """SHA-256 (hex) of each; empty where there is none.

        Raises:
            UserError: one cannot be read.
        """
        return [_hash(path) if path else "" for path in (self.photo, self.mask, self.control, self.reference)]


def image(path: Path) -> Image.Image:
    """RGB, upright.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return decode.decode(path.read_bytes()).pixels
    except OSError as error:
        raise _unreadable(path, error) from error
    except decode.Unreadable as error:
        raise UserError(f"{path}: this image {error}; choose another.") from error


def _hash(path: Path) -> str:
    try:
        return sha256([path])
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: this image cannot be read ({error.strerror}); check the path.")
