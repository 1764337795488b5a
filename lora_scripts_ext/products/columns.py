"""Which column of a product list is which field of a product: guessed from its name, or given once and kept."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..captions import columns as captions_columns
from ..errors import UserError
from .product import FIELDS

# Names of columns by field, as ``plain`` gives them, the likelier ones first: words of shops and the exports of
# Shopify, WooCommerce, Akeneo, Google Merchant, Taobao and JD.
_NAMES: dict[str, tuple[str, ...]] = {
    "sku": (
        "sku", "variant_sku", "product_sku", "sku_code", "sku_id", "item_sku", "seller_sku", "article_number",
        "article_no", "item_number", "item_no", "product_code", "product_number", "product_id", "item_id", "identifier",
        "mpn", "spu", "id", "handle", "货号", "商品货号", "商品编码", "商家编码", "商品编号", "产品编码", "产品编号",
        "款号", "sku编码", "spu编码", "商品id", "宝贝id", "编码", "编号",
    ),
    "title": (
        "title", "product_title", "product_name", "item_name", "name", "label", "标题", "商品标题", "宝贝标题",
        "商品名称", "产品名称", "商品名", "品名", "名称",
    ),
    "category": (
        "category", "categories", "product_category", "product_type", "type", "family", "google_product_category",
        "类目", "商品类目", "宝贝类目", "类别", "分类", "商品分类", "品类",
    ),
    "description": (
        "description", "product_description", "body_(html)", "body_html", "short_description", "details", "描述",
        "商品描述", "宝贝描述", "产品描述", "详情", "商品详情", "简介", "说明",
    ),
    "tags": ("tags", "tag", "product_tags", "keywords", "labels", "标签", "商品标签", "关键词", "关键字"),
    "photo": (
        "photo", "product_photo", "main_photo", "image", "main_image", "product_image", "image_path", "image_file",
        "image_src", "image_link", "images", "picture", "photos", "主图", "商品主图", "图片", "商品图片",
        "产品图片", "照片", "图片路径", "原图",
    ),
    "mask": ("mask", "mask_path", "mask_file", "product_mask", "蒙版", "遮罩", "掩码"),
    "control": ("control", "control_image", "pose", "pose_image", "view", "控制图", "姿势图", "姿态图"),
    "reference": ("reference", "reference_image", "style_reference", "参考图", "参考图片", "风格参考图"),
    "prompt": ("prompt", "positive_prompt", "提示词", "正向提示词", "正面提示词"),
    "negative": ("negative", "negative_prompt", "负面提示词", "反向提示词", "负向提示词"),
}  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """The column of each field.

    Attributes:
        headers: by field; a field whose header is empty has no column, one that is not there is guessed.
    """

    headers: Mapping[str, str] = field(default_factory=dict)

    def header(self, field: str) -> str:
        """The column of a field; empty where it has none."""
        return self.headers.get(field, "")

    def completed(self, headers: Sequence[str]) -> Columns:
        """With every field: those that are missing are guessed from the columns that no other field has.

        Raises:
            UserError: the list has no such column.
        """
        known = {plain(header): header for header in reversed(headers)}
        given: dict[str, str] = {}
        for name, header in self.headers.items():
            if header and plain(header) not in known:
                raise UserError(
                    f"columns: {name} is {header!r}, which is no column of the list; its columns are "
                    f"{', '.join(headers)}."
                )
            given[name] = known[plain(header)] if header else ""
        taken = set(given.values())
        for name in FIELDS:
            if name not in given:
                given[name] = next((known[one] for one in _NAMES[name] if known.get(one, "") not in ("", *taken)), "")
                taken.add(given[name])
        return Columns({name: given[name] for name in FIELDS})

    def to_dict(self) -> dict[str, str]:
        """Field -> header, for :meth:`from_dict`."""
        return dict(self.headers)

    @classmethod
    def from_dict(cls, data: Any, where: str = "columns") -> Columns:
        """Of ``{field: header}``.

        Raises:
            UserError: it is no such mapping, or names a field that there is not; the sentence begins with ``where``.
        """
        if not isinstance(data, Mapping):
            raise UserError(f"{where}: expected a mapping of fields to columns, such as sku: Item number.")
        for name, header in data.items():
            if name not in FIELDS:
                raise UserError(f"{where}: there is no field {str(name)[:80]!r}; the fields are {', '.join(FIELDS)}.")
            if not isinstance(header, str):
                raise UserError(f"{where}: {name} must be the name of a column; write it in quotes.")
        doubled = [header for header in data.values() if header and list(data.values()).count(header) > 1]
        if doubled:
            raise UserError(f"{where}: {doubled[0]!r} is the column of two fields; choose one of them.")
        return cls({str(name): header.strip() for name, header in data.items()})


def guessed(headers: Sequence[str]) -> Columns:
    """The columns of a list with these headers, by their names."""
    return Columns().completed(headers)


def known(headers: Iterable[str]) -> int:
    """How many of the headers are names of fields."""
    names = {plain(header) for header in headers}
    return sum(any(one in names for one in listed) for listed in _NAMES.values())


def field_of(header: str) -> str:
    """The field that a header is a name of; empty where it is none."""
    return next((name for name, listed in _NAMES.items() if plain(header) in listed), "")


def key(headers: Iterable[str]) -> str:
    """The same text for two lists with the same columns in any order, to keep their ``Columns`` under."""
    return hashlib.sha256("\n".join(sorted(map(plain, headers))).encode()).hexdigest()


@lru_cache(maxsize=1 << 16)
def plain(name: str) -> str:
    """A header without differences that mean nothing: of case, width (``ＳＫＵ``), spaces, underscores and hyphens."""
    return captions_columns.plain(unicodedata.normalize("NFKC", name))
