"""Attributes of a product by any of the names that shops give them: ``colour`` is ``Color`` and ``颜色``, too."""

from __future__ import annotations

from functools import lru_cache

from .columns import plain
from .product import Product

#: what may stand before an attribute's name, in rules and templates
PREFIX = "attributes."
_NAMES = {
    "brand": ("brand_name", "manufacturer", "vendor", "品牌", "厂商", "厂家"),
    "colour": (
        "color", "colours", "colors", "colour_name", "color_name", "颜色", "颜色分类", "色号", "主色", "车身颜色",
        "外观颜色",
    ),
    "condition": ("grade", "成色", "新旧程度", "车况"),
    "fit": ("版型", "廓形"),
    "gender": ("target_gender", "性别", "适用性别"),
    "length": ("衣长", "裙长", "裤长", "长度"),
    "material": ("materials", "fabric", "composition", "材质", "面料", "材料", "面料材质"),
    "model": ("model_name", "型号", "车型", "车系", "机型"),
    "neckline": ("collar", "领型", "领口"),
    "pattern": ("print", "图案", "花型", "花纹"),
    "season": ("季节", "适用季节"),
    "shape": ("形状", "外形"),
    "size": ("sizes", "尺码", "尺寸", "规格"),
    "sleeve": ("sleeve_length", "sleeves", "袖长", "袖型"),
    "storage": ("capacity", "存储容量", "内存", "容量"),
    "style": ("风格", "款式"),
    "year": ("model_year", "年份", "年款", "上市年份", "出厂年份"),
}  # fmt: skip
_KNOWN = {other: name for name, others in _NAMES.items() for other in others}


def of(product: Product, name: str) -> str:
    """An attribute by its column's header, in any case and width, or by another name of it; empty where the product has
    none."""
    exact, wanted, other = plain(name.removeprefix(PREFIX)), canonical(name), ""
    for header, value in product.attributes.items():
        if plain(header) == exact:
            return value
        if not other and canonical(header) == wanted:
            other = value
    return other


@lru_cache(maxsize=1 << 16)
def canonical(name: str) -> str:
    """The name of an attribute that stands for all of its names; ``plain`` where it is not known."""
    bare = plain(name.removeprefix(PREFIX))
    return _KNOWN.get(bare, bare)
