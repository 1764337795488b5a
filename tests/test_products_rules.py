"""Rules: which one fits a product, what they do with a list, and what is wrong with them."""

import pytest

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.products import listing
from lora_scripts_ext.products.columns import Columns
from lora_scripts_ext.products.product import Product
from lora_scripts_ext.products.rules import LoraName, Rules

RULES = """
rules:
  - name: winter coats
    when: {category: [Coats, 大衣], tags: winter*}
    loras:
      - {name: house style, weight: 0.6}
      - {file: loras/coats.safetensors}
    prompt: "{title} in the snow"
    negative: sun
    control: poses/coat.png
  - when: {Colour: red, title: , category: ~}
    prompt: null
    loras: [{name: red things}]
  - when: {sku: 007, on sale: yes}
    loras: []
"""


@pytest.fixture
def rules(tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    return Rules.load(tmp_path / "rules.yaml")


def of(**when):
    return Rules.from_dict({"rules": [{"when": when}]})


def fits(when, **values):
    return of(**when).match(Product("1", **values)) is not None


def test_the_first_rule_that_fits_is_used(rules, tmp_path):
    coat = Product("A", category="大衣", tags=("new", "Winter sale"), attributes={"color": "Red"})
    match = rules.match(coat)
    assert match.rule == "winter coats"
    assert match.loras == (
        LoraName("", "house style", 0.6),
        LoraName(str(tmp_path / "loras/coats.safetensors"), "", 1.0),
    )
    assert (match.prompt, match.negative) == ("{title} in the snow", "sun")
    assert match.control == str(tmp_path / "poses/coat.png")
    red = rules.match(Product("B", category="Coats", attributes={"颜色": "ＲＥＤ"}))
    assert (red.rule, red.prompt) == ("rule 2", "")
    assert rules.match(Product("C", category="Coats")) is None


def test_values_are_taken_as_they_are_written(rules):
    assert rules.match(Product("007", attributes={"On Sale": "Yes"})).rule == "rule 3"
    assert rules.match(Product("7", attributes={"On Sale": "Yes"})) is None


@pytest.mark.parametrize(
    ("when", "values", "fitting"),
    [
        ({}, {}, True),
        ({"category": ""}, {"category": "Coats"}, True),
        ({"category": []}, {}, True),
        ({"category": "coats"}, {"category": " COATS "}, True),
        ({"category": "ｃｏａｔｓ"}, {"category": "Coats"}, True),
        ({"category": "coat"}, {"category": "Coats"}, False),
        ({"category": "Women > *"}, {"category": "women >  Coats"}, True),
        ({"category": "*coat*"}, {"category": "Raincoats"}, True),
        ({"category": "a*a"}, {"category": "a"}, False),
        ({"category": "a*b*b"}, {"category": "axb"}, False),
        ({"category": "a**b"}, {"category": "ab"}, True),
        ({"category": "c.ats"}, {"category": "coats"}, False),
        ({"category": "*"}, {}, True),
        ({"tags": "sale"}, {"tags": ("new", "Sale")}, True),
        ({"tags": "sale"}, {"tags": ("sale now",)}, False),
        ({"tags": "sale"}, {}, False),
        ({"标签": "sale"}, {"tags": ("sale",)}, True),
        ({"类目": ["女装", "男装"]}, {"category": "男装"}, True),
        ({"attributes.colour": "red"}, {"attributes": {"车身颜色": "Red"}}, True),
        ({"size": 38}, {"attributes": {"尺码": "38"}}, True),
        ({"boxed": True}, {"attributes": {"Boxed": "true"}}, True),
        ({"type": "b"}, {"category": "a", "attributes": {"Type": "b"}}, True),
        ({"category": "a", "colour": "red"}, {"category": "a"}, False),
    ],
)
def test_conditions(when, values, fitting):
    assert fits(when, **values) is fitting


def test_conditions_may_name_the_headers_of_the_list(tmp_path):
    path = tmp_path / "products.csv"
    path.write_text("Artikel,Abteilung,type\n1,Kleider,neu\n2,Hosen,\n", encoding="utf-8")
    found = listing.read(path, Columns({"sku": "Artikel", "category": "Abteilung", "title": ""}))
    rules = Rules.from_dict({
        "rules": [{"when": {"abteilung": "Kleider"}}, {"when": {"type": "Hosen"}}, {"when": {"preis": 3}}]
    })  # fmt: skip
    bound = rules.of_list(found.columns)
    assert [bound.match(one) is not None for one in found.products] == [True, False]
    assert bound.tried(found.products).warnings == ["rule 3: no product has a column preis; correct the name."]


def test_rules_are_tried_on_a_list():
    rules = Rules.from_dict({
        "rules": [
            {"name": "coats", "when": {"category": "coats"}},
            {"name": "red", "when": {"colour": "red"}},
            {"when": {"material": "silk"}},
            {"name": "red coats", "when": {"category": "coats", "colour": "red"}},
        ]
    })  # fmt: skip
    products = [
        Product("1", category="Coats", attributes={"colour": "red"}),
        Product("2", attributes={"colour": "red"}),
        Product("3", category="Coats"),
        Product("4", category="Hats"),
    ]
    trial = rules.tried(products)
    assert trial.counts == {"coats": 2, "red": 1, "rule 3": 0, "red coats": 0}
    assert (trial.unmatched, trial.unused) == (["4"], ["rule 3", "red coats"])
    assert trial.warnings == ["rule 3: no product has a column material; correct the name."]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("rules: [a]", "rules.yaml: rule 1: expected keys such as when and loras"),
        ("rule: []", "rules.yaml: there is no key 'rule'; the keys are rules."),
        ("rules: {a: b}", "rules.yaml: rules must be a list"),
        ("rules:\n- {}\n- {whne: {}}", "rules.yaml: rule 2: there is no key 'whne'; the keys are name, when"),
        ("rules: [{when: red}]", "rules.yaml: rule 1: when: expected lines of `key: value`"),
        ("rules: [{when: {a: {b: c}}}]", "rules.yaml: rule 1: when: a: expected a text"),
        ("rules: [{loras: x}]", "rules.yaml: rule 1: loras must be a list"),
        ("rules: [{loras: [{name: a}, {weight: 1}]}]", "rules.yaml: rule 1: loras: 2: give either file"),
        ("rules: [{loras: [{name: a, file: b}]}]", "rules.yaml: rule 1: loras: 1: give either file"),
        ("rules: [{loras: [{name: a, weight: much}]}]", "rule 1: loras: 1: weight is much; write a number"),
        ("rules: [{loras: [{name: a, weight: nan}]}]", "rule 1: loras: 1: weight is nan; write a number"),
        ("rules: [{loras: [{name: a, weight: 100}]}]", "rule 1: loras: 1: weight is 100; write a number"),
        ("rules: [{name: a}, {name: a}]", "rules.yaml: two rules have the name a; rename one of them."),
        ("rules: [{prompt: [a]}]", "rules.yaml: rule 1: prompt: expected a text"),
        ("- a", "rules.yaml line 1: expected lines of `key: value`, found a list"),
        ("rules: [", "rules.yaml line 1: this is not valid YAML"),
        ("rules:\n- when: {a: b}\n  when: {c: d}", "rules.yaml line 3: when is there a second time"),
    ],
)
def test_what_is_wrong_with_rules(tmp_path, data, sentence):
    (tmp_path / "rules.yaml").write_text(data, encoding="utf-8")
    with pytest.raises(UserError) as raised:
        Rules.load(tmp_path / "rules.yaml")
    assert sentence in str(raised.value)


def test_rules_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="it cannot be read"):
        Rules.load(tmp_path / "gone.yaml")
    (tmp_path / "rules.yaml").write_bytes("rules: 规则".encode("gbk"))
    with pytest.raises(UserError, match="this file is not UTF-8; save it as UTF-8"):
        Rules.load(tmp_path / "rules.yaml")


def test_a_pattern_that_would_be_slow():
    """Twenty stars in a row of the same letter: backtracking must not try every way to share it out."""
    assert not fits({"category": "a*" * 20 + "b"}, category="a" * 200)
