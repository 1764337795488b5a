"""Prompts of products: templates, the glossary, trigger words, and what brand safety says of them."""

import re
import time

import pytest

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.products.glossary import Glossary, Translation
from lora_scripts_ext.products.product import Product
from lora_scripts_ext.products.prompts import compose
from lora_scripts_ext.products.rules import Match, Rules
from lora_scripts_ext.products.safety import WordList
from lora_scripts_ext.products.templates import Templates

TEMPLATES = Templates.from_dict({
    "templates": [
        {"category": "*dress*", "channel": "detail-*", "scene": "on a beach"},
        {"category": ["*dress*", "女装"], "style": "fashion photo", "attributes": "{attributes.colour}, {tags}"},
        {"channel": "white", "scene": ""},
        {"subject": "a photo of {name}", "scene": "in a studio, {attributes.season} light", "negative": "blurry"},
    ]
})  # fmt: skip
DRESS = Product(
    "D1",
    title="Summer dress",
    category="Women > Dresses",
    tags=("new", "linen"),
    attributes={"颜色": "red", "season": "winter"},
)
PLAIN = Glossary({})


def prompt(product, channel="", match=None, **options):
    return compose(product, match, TEMPLATES, PLAIN, channel, **options)


def test_each_part_comes_from_the_first_template_that_fits():
    assert prompt(DRESS).prompt == (
        "a photo of Summer dress, red, new, linen, in a studio, winter light, fashion photo"
    )
    assert prompt(DRESS, "detail-page").prompt == "a photo of Summer dress, red, new, linen, on a beach, fashion photo"
    assert prompt(DRESS, "white").prompt == "a photo of Summer dress, red, new, linen, fashion photo"
    assert prompt(DRESS).negative == "blurry"


def test_what_is_absent_takes_its_comma_along():
    assert prompt(Product("1", title="Mug")).prompt == "a photo of Mug, in a studio"


@pytest.mark.parametrize(
    ("values", "subject"),
    [
        ({"title": "Mug", "category": "Cups"}, "Mug"),
        ({"category": "Kitchen > Cups"}, "Cups"),
        ({"description": "a blue cup"}, "a blue cup"),
    ],
)
def test_the_name_of_a_product(values, subject):
    assert prompt(Product("1", **values)).prompt == f"a photo of {subject}, in a studio"


def test_a_product_that_nothing_is_said_of():
    found = prompt(Product("1"))
    assert found.prompt == "in a studio"
    assert found.warnings == (
        "1: it has neither title nor category nor description, so the prompt does not say what it is; write one of "
        "them.",
    )


def test_a_rule_says_how_the_whole_prompt_goes():
    match = Match("r", (), prompt="{trigger} style, {subject}, {attributes.colour}, by night", negative="sun, blurry")
    found = prompt(DRESS, match=match, triggers=("cbrnd",))
    assert found.prompt == "cbrnd style, a photo of Summer dress, red, by night"
    assert found.negative == "blurry, sun"


def test_a_product_has_the_last_word():
    own = Product("1", title="Mug", prompt="my (mug:1.2), <lora:x:1>", negative="ugly")
    found = prompt(own, match=Match("r", (), "{title}", "sun"), triggers=("mug", "shopx"))
    assert found.prompt == "shopx, my (mug:1.2), <lora:x:1>"
    assert found.negative == "ugly"


def test_of_a_product_that_is_kept_only_the_surroundings_are_said():
    templates = Templates.from_dict(
        {"templates": [{"category": "Cups", "surroundings": "on a {attributes.wood} table"}]}
    )
    cup = Product("1", title="Mug", category="Cups", attributes={"wood": "oak"})
    kept = compose(cup, None, templates, PLAIN, triggers=("brnd",), kept=True)
    assert (kept.prompt, kept.warnings) == ("brnd, on a oak table", ())
    shipped = compose(Product("2", title="Mug"), None, Templates.load(), PLAIN, kept=True)
    assert shipped.prompt.startswith("an empty table") and "Mug" not in shipped.prompt
    assert compose(Product("3", prompt="by the sea"), None, templates, PLAIN, kept=True).prompt == "by the sea"


def test_trigger_words_are_there_once():
    assert prompt(Product("1", title="ABRND mug"), triggers=("abrnd", "brnd")).prompt.startswith(
        "brnd, a photo of ABRND"
    )


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("<b>Mug</b> &amp; saucer", "Mug & saucer"),
        ("Mug <lora:evil:9>", "Mug"),
        ("Mug (large:1.5) [new|old] {a}", "Mug large:1.5 new old a"),
        ("Rock AND Roll BREAK mug", "Rock and Roll break mug"),
        ("ＭＵＧ　２", "MUG 2"),
        ("{sku} mug", "sku mug"),
    ],
)
def test_what_a_webui_would_obey_is_taken_out_of_a_list(title, shown):
    assert prompt(Product("1", title=title)).prompt == f"a photo of {shown}, in a studio"


def test_what_is_said_already_is_not_repeated():
    product = Product("1", title="Red linen dress", category="dress", tags=("linen",), attributes={"colour": "red"})
    assert prompt(product).prompt == "a photo of Red linen dress, in a studio, fashion photo"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"templates": [{"scene": "{titel}"}]}, "t: template 1: scene: there is no {titel}; there are name, sku"),
        ({"templates": [{"scene": "{title"}]}, "t: template 1: scene: a brace has no partner"),
        ({"templates": [{}, {"mood": "x"}]}, "t: template 2: there is no key 'mood'"),
        ({"templates": {}}, None),
        ({"templates": "x"}, "t: templates must be a list"),
        ({"templates": ["x"]}, "t: template 1: expected keys such as scene"),
        ({"templates": [{"category": {}}]}, "t: template 1: category: expected a text"),
    ],
)
def test_what_is_wrong_with_templates(data, sentence):
    if sentence is None:
        assert Templates.from_dict(data).parts(DRESS)["subject"] == ""
        return
    with pytest.raises(UserError) as raised:
        Templates.from_dict(data, "t")
    assert sentence in str(raised.value)


def test_a_rule_cannot_name_what_there_is_not():
    with pytest.raises(UserError, match=r"rule 1: prompt: there is no \{colour\}"):
        Rules.from_dict({"rules": [{"prompt": "{colour}"}]})


@pytest.mark.parametrize(
    ("text", "translation"),
    [
        ("红色连衣裙", Translation("red dress")),
        ("红色的牛仔短裤", Translation("red denim shorts")),
        ("红色，连衣裙。", Translation("red, dress")),
        ("iPhone 13 手机壳 128GB", Translation("iPhone 13 phone case 128GB")),
        ("樱粉连衣裙", Translation("dress", ("樱粉",))),
        ("樱粉 连衣裙 甲乙", Translation("dress", ("樱粉", "甲乙"))),
        ("V领毛衣", Translation("V-neck sweater")),
        ("ｖ领", Translation("V-neck")),
        ("a plain mug", Translation("a plain mug")),
        ("colourway TB, not TBA", Translation("colourway teal blue, not TBA")),
        ("", Translation("")),
    ],
)
def test_the_longest_term_is_replaced_first(text, translation):
    glossary = Glossary({
        "红色": "red", "连衣裙": "dress", "裙": "skirt", "的": "", "牛仔": "denim", "短裤": "shorts", "裤": "trousers",
        "手机": "phone", "手机壳": "phone case", "V领": "V-neck", "毛衣": "sweater", "TB": "teal blue",
    })  # fmt: skip
    assert glossary.translated(text) == translation


def test_terms_from_files(tmp_path):
    (tmp_path / "own.yaml").write_text("terms:\n  樱粉: cherry pink\n  连衣裙: frock\n  'on': ''\n", encoding="utf-8")
    (tmp_path / "table.csv").write_bytes("中文;英文\n雾霾蓝;haze blue\n连衣裙;summer frock\n".encode("utf-16"))
    glossary = Glossary.load([tmp_path / "own.yaml", tmp_path / "table.csv"])
    assert glossary.translated("樱粉连衣裙 雾霾蓝 沙发").text == "cherry pink summer frock haze blue sofa"
    assert Glossary.load([tmp_path / "own.yaml"], shipped=False).translated("沙发").unknown == ("沙发",)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.yaml", "term: {a: b}", "there is no key 'term'"),
        ("a.yaml", "terms: {a: [b]}", "a.yaml: a: expected a text"),
        ("a.csv", "红色,red\n蓝色\n", "entry 2 has no second column"),
        ("a.yaml", "terms: {'': b}", "'' is no term"),
    ],
)
def test_what_is_wrong_with_a_glossary(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        Glossary.load([tmp_path / name])


@pytest.mark.parametrize(
    ("title", "english"),
    [
        ("新款韩版女士高腰阔腿牛仔裤", "new Korean style women's high-waisted wide-leg jeans"),
        ("二手苹果手机 九成新 深空灰", "used Apple smartphone in very good used condition space grey"),
        ("红色两厢电动汽车 全景天窗", "red hatchback electric car panoramic sunroof"),
        ("北欧实木餐桌", "Nordic solid wood dining table"),
        ("男士真皮商务公文包", "men's leather business briefcase"),
    ],
)
def test_titles_of_shops_in_the_terms_that_ship(title, english):
    assert Glossary.load([]).translated(title) == Translation(english)


def test_the_terms_that_ship_are_chinese_and_english():
    terms = Glossary.load([])._terms
    assert len(terms) > 1000
    assert all(re.search("[\u4e00-\u9fff]", term) for term in terms)
    assert not [words for words in terms.values() if re.search("[\u2e80-\uffff]", words)]


def test_the_prompt_is_in_the_words_of_the_base_model():
    product = Product("货1", title="樱粉色真丝连衣裙", category="女装", attributes={"颜色": "粉色"}, negative="模糊")
    found = compose(product, None, Templates.load(), Glossary.load([]))
    assert found.prompt == (
        "pink silk dress, on a plain light background, fashion product photo, soft daylight, true colours, sharp focus"
    )
    assert found.warnings == (
        "货1: the glossary has no word for 樱, which is left out; add it.",
        "货1: the glossary has no word for 模糊, which is left out; add it.",
    )
    kept = compose(product, None, Templates.load(), Glossary.load([]), language="zh")
    assert kept.prompt.startswith("樱粉色真丝连衣裙, on a plain") and not kept.warnings


@pytest.mark.parametrize(
    ("product", "start"),
    [
        (Product("1", title="Family car", category="Used cars", attributes={"color": "White"}),
         "Family car, White paint, parked, three-quarter front view, automotive photo"),
        (Product("1", title="Cardigan", category="Cardigans and knitwear", attributes={"material": "wool"}),
         "Cardigan, wool, on a plain light background, fashion product photo"),
        (Product("1", title="Car seat", category="Carpets", attributes={}),
         "Car seat, on a plain light background, product photo"),
    ],
)  # fmt: skip
def test_the_templates_that_ship(product, start):
    assert compose(product, None, Templates.load(), Glossary.load([])).prompt.startswith(start)


def test_many_prompts_are_fast():
    templates, glossary = Templates.load(), Glossary.load([])
    products = [
        Product(str(n), title=f"新款女士连衣裙 {n}", category="女装", attributes={"颜色": "红色"}) for n in range(2000)
    ]
    started = time.process_time()
    for product in products:
        compose(product, None, templates, glossary, triggers=("abrnd",))
    assert time.process_time() - started < 4


WORDS = WordList.from_dict(
    {"forbidden": ["replica", "best price", "最便宜"], "competitors": ["Acme", "Coca-Cola", "竞品牌"]}
)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a REPLICA watch", "replica"),
        ("ｒｅｐｌｉｃａ", "replica"),
        ("replicas", ""),
        ("unreplica", ""),
        ("best-price mug", "best price"),
        ("best   price mug", "best price"),
        ("全网最便宜的手机", "最便宜"),
        ("replica手表", "replica"),
        ("a mug", ""),
    ],
)
def test_forbidden_words(text, word):
    refusal = WORDS.check(text, "M1").refusal
    assert refusal == (
        f"M1: its prompt has the forbidden word {word!r}; change the text of the product or the template, or the word "
        "list."
        if word
        else ""
    )


def test_names_of_competitors():
    found = WORDS.check("an ACME mug beside coca cola, not acmeology, 竞品牌手机", "M1", "title")
    assert found.refusal == ""
    assert [warning.split("names ")[1].split(",")[0] for warning in found.warnings] == [
        "'Acme'",
        "'Coca-Cola'",
        "'竞品牌'",
    ]


def test_word_lists_are_read_and_checked(tmp_path):
    (tmp_path / "words.yaml").write_text("forbidden: [no]\n", encoding="utf-8")
    assert WordList.load(tmp_path / "words.yaml").check("No way", "1").refusal
    with pytest.raises(UserError, match="words: there is no key 'words'; the keys are forbidden, competitors"):
        WordList.from_dict({"words": []})
