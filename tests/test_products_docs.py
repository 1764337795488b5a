"""The examples of docs/products.md do what it says."""

import re
from pathlib import Path

import pytest
from PIL import Image

from lora_scripts_ext.products import attributes, columns, listing
from lora_scripts_ext.products.glossary import Glossary
from lora_scripts_ext.products.product import FIELDS
from lora_scripts_ext.products.prompts import compose
from lora_scripts_ext.products.rules import Rules
from lora_scripts_ext.products.safety import WordList
from lora_scripts_ext.products.templates import Templates

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "products.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    for name, content in re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a-001.png")
    return tmp_path


def said(text):
    return text in " ".join(PAGE.split())


def test_the_list_and_its_wrong_row(folder):
    found = listing.read(folder / "products.csv")
    assert [one.sku for one in found.products] == ["A-001", "A-002", "P-010"]
    assert [one.row for one in found.problems] == [4]
    assert said(f"*{found.problems[0].sentence}*")


def test_the_rules_on_the_list(folder):
    found = listing.read(folder / "products.csv")
    rules = Rules.load(folder / "rules.yaml").of_list(found.columns)
    assert [(one.sku, match.rule if (match := rules.match(one)) else None) for one in found.products] == [
        ("A-001", "summer dresses"), ("A-002", None), ("P-010", "used phones"),
    ]  # fmt: skip
    assert not rules.tried(found.products).warnings


def test_the_prompts(folder):
    found = listing.read(folder / "products.csv")
    rules = Rules.load(folder / "rules.yaml").of_list(found.columns)
    templates, glossary = Templates.load(folder / "templates.yaml"), Glossary.load([])
    shown = dict(re.findall(r"^\| ([AP]-\d+) \| (.*) \|$", PAGE, re.MULTILINE))
    assert len(shown) == 3
    for product, triggers in zip(found.products, [("hstyl",), (), ()], strict=True):
        composed = compose(product, rules.match(product), templates, glossary, "detail-page", triggers=triggers)
        assert (composed.prompt, composed.warnings) == (shown[product.sku], ())


def test_the_glossary_and_the_word_list(folder):
    text, translation = re.search(r"such a glossary `(.*?)` is `(.*?)`", PAGE).groups()
    assert Glossary.load([folder / "glossary.yaml"]).translated(text).text == translation
    assert Glossary.load([folder / "glossary.yaml"]).translated(text).unknown == ()
    words = WordList.load(folder / "words.yaml")
    assert said(words.check("a replica", "A-001").refusal.split("; ")[0])
    assert words.check("an Acme mug", "A-001").warnings


def test_the_fields_and_attributes_are_all_named():
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]*\| (.*) \|$", PAGE, re.MULTILINE))
    assert list(rows)[: len(FIELDS)] == list(FIELDS)
    for field in FIELDS:
        for name in rows[field].split(", "):
            assert columns.field_of(name) == field, name
    assert all(f"`{name}`" in PAGE for name in attributes._NAMES if name != "colour")
