"""What stands in place of an image for those who do not see it, by language."""

from __future__ import annotations

import re

from ..products.product import Product

_CHINESE = re.compile("[\u3400-\u9fff]")


def texts(product: Product) -> dict[str, str]:
    """The product's title, in the language that it is written in; the category or SKU where there is none."""
    text = product.title or product.category or product.sku
    return {"zh" if _CHINESE.search(text) else "en": " ".join(text.split())}
