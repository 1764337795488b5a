"""Copy for products: written by a service that the operator names, and by people, whose words are never replaced."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import UserError
from ..products.copywriting import Copy
from ..products.product import Product
from .planning import words_of
from .product import CatalogueProduct, ProductCopy, copy_to_json
from .store import Catalogue

_WHAT = "texts"
# A service that fails so often in a row is not asked fifty thousand times.
_MOST_IN_A_ROW = 3


class Writes(Protocol):
    """See :class:`..products.copywriting.Copywriter`."""

    def write(self, product: Product) -> Copy:
        """Title and selling points.

        Raises:
            UserError: there are none.
        """


@dataclass
class Written:
    """What came of it.

    Attributes:
        written: how many products have copy now that had none.
        problems: sentences on products that still have none.
        warnings: sentences about copy that a person should look at.
    """

    written: int = 0
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"written": self.written, "failed": len(self.problems), **vars(self)}


def write(
    catalogue: Catalogue,
    writer: Writes,
    language: str,
    *,
    products: Collection[int] | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
    check: Callable[[], None] = lambda: None,
) -> Written:
    """Let products of the list that have no copy get some; each is kept at once.

    Args:
        catalogue: theirs; copy with a forbidden word of its word list is not kept.
        writer: is asked for one product after the other.
        language: that it writes in.
        products: ids of those that count; None for all.
        progress: is called with the products that are done and all of them.
        check: is called before each; what it raises ends the work.

    Raises:
        UserError: the service fails several times in a row.
    """
    result, in_a_row = Written(), 0
    words = words_of(catalogue.settings())
    pending = _lacking(catalogue, products)
    progress(0, len(pending), _WHAT)
    for done, id in enumerate(pending, 1):
        check()
        one = catalogue.get(id)
        try:
            copy = writer.write(one.product)
            found = words.check("\n".join((copy.title, *copy.selling_points)), one.sku, "copy")
            in_a_row = 0
            if found.refusal:
                result.problems.append(found.refusal)
            elif _keep(catalogue, one, ProductCopy(copy.title, copy.selling_points, language, "service")):
                result.written += 1
                result.warnings += [*found.warnings, *copy.warnings]
        except UserError as error:
            in_a_row += 1
            if in_a_row == _MOST_IN_A_ROW:
                raise
            result.problems.append(str(error))
        progress(done, len(pending), _WHAT)
    return result


def _lacking(catalogue: Catalogue, products: Collection[int] | None) -> list[int]:
    """Ids of the products of the list without copy, in its order."""
    query = "SELECT id FROM products WHERE listed AND copy = '' ORDER BY position, id"
    with catalogue.reading() as connection:
        ids = [row[0] for row in connection.execute(query)]
    return ids if products is None else [one for one in ids if one in set(products)]


def _keep(catalogue: Catalogue, product: CatalogueProduct, copy: ProductCopy) -> bool:
    """Keep it, unless someone else has written some meanwhile."""
    with catalogue.writing() as connection:
        query = "UPDATE products SET copy = ? WHERE id = ? AND copy = ''"
        return connection.execute(query, [copy_to_json(copy), product.id]).rowcount > 0
