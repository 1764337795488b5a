"""What stands in place of an image for those who do not see it, by language."""

from __future__ import annotations

import re

from ..products.glossary import Glossary
from ..products.product import Product

_CHINESE = re.compile("[\u3400-\u9fff]")


def texts(product: Product, glossary: Glossary) -> dict[str, str]:
    """The product's title, else its category, else its SKU, in its own language; of Chinese also what the glossary
    makes of it, where it knows all of it."""
    text = " ".join((product.title or product.category or product.sku).split())
    if not _CHINESE.search(text):
        return {"en": text}
    translation = glossary.translated(text)
    return {"zh": text} if translation.unknown else {"en": translation.text, "zh": text}
