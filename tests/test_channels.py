"""Channels as data: those that ship, wrong files, and where the law contradicts one."""

import re
from pathlib import Path

import pytest
import yaml

from lora_scripts_ext.channels import channel as channels
from lora_scripts_ext.channels import law
from lora_scripts_ext.errors import UserError

# name -> size, background, format, product share, kilobytes, visible mark: as docs/channels.md has them
SHIPPED = {
    "amazon-main": ("min 1600 x 1600", "white", "JPEG", 0.85, (0, 10_000), "forbidden"),
    "amazon-secondary": ("min 1600 x 1600", "any", "JPEG", 0, (0, 10_000), "allowed"),
    "google-merchant": ("min 1500 x 1500", "any", "JPEG", 0, (0, 16_000), "forbidden"),
    "taobao-main": ("800 x 800", "any", "JPEG", 0, (0, 3_000), "allowed"),
    "taobao-white": ("800 x 800", "white", "JPEG", 0.4, (38, 300), "forbidden"),
    "taobao-3-4": ("750 x 1000", "any", "JPEG", 0, (0, 3_000), "allowed"),
    "taobao-long": ("800 x 1200", "any", "JPEG", 0, (0, 3_000), "allowed"),
    "jd-main": ("min 800 x 800", "white", "JPEG", 0, (0, 3_000), "forbidden"),
    "shopify": ("min 2048 x 2048", "any", "JPEG", 0, (0, 20_000), "allowed"),
    "detail-page": ("750 wide", "any", "JPEG", 0, (0, 3_000), "allowed"),
    "social-square": ("1080 x 1080", "any", "JPEG", 0, (0, 5_000), "required"),
    "social-portrait": ("1080 x 1350", "any", "JPEG", 0, (0, 5_000), "required"),
    "social-landscape": ("1200 x 630", "any", "JPEG", 0, (0, 5_000), "required"),
}
DOCUMENTATION = Path(__file__).resolve().parent.parent / "docs" / "channels.md"
VALUES = {
    "title": "Shop", "source": "its page", "date": "2026-11", "size": {"exact": [800, 600]}, "format": "JPEG",
    "visible_mark": "allowed", "role": "main",
}  # fmt: skip


def made(**changes):
    values = {key: value for key, value in {**VALUES, **changes}.items() if value is not ...}
    return channels.from_dict(values, "shop", "shop.yaml")


def size_in_words(size):
    if size.width:
        return f"{size.width} wide"
    return f"{'' if size.is_exact else 'min '}{size.low[0]} x {size.low[1]}"


def test_these_channels_ship():
    assert channels.names() == sorted(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_channel_has_its_figures_its_source_and_its_date(name):
    channel = channels.load(name)
    weight = (channel.weight_kb.low, channel.weight_kb.high)
    figures = (channel.background, channel.format, channel.product_share.low, weight, channel.visible_mark)
    assert (size_in_words(channel.size), *figures) == SHIPPED[name]
    assert channel.source and re.fullmatch(r"20\d\d-\d\d", channel.date)
    text = (channels._FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# Secondary source")


def test_the_documentation_has_every_channel_and_an_example_that_works():
    page = DOCUMENTATION.read_text(encoding="utf-8")
    table = [re.split(r"\s*\|\s*", line) for line in re.findall(r"^\| (`.*) \|$", page, re.MULTILINE)]
    rows = {cells[0].strip("`"): cells for cells in table}
    assert set(rows) == set(SHIPPED)
    for name, cells in rows.items():
        channel = channels.load(name)
        share = channel.product_share.low
        assert cells[5] == channel.visible_mark and channel.date in cells[6], name
        assert cells[3].strip() == (f"from {share:.0%}".replace("%", " %") if share else ""), name
        assert cells[2].startswith("white" if channel.background == "white" else "any"), name
        assert cells[1].startswith(size_in_words(channel.size).replace("min", "from")), name
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert channels.from_dict(yaml.safe_load(example), "example", "docs").format == "WEBP"


def test_a_channel_of_ones_own_is_given_by_its_path(tmp_path):
    path = tmp_path / "my shop.yaml"
    path.write_text(yaml.safe_dump({**VALUES, "weight_kb": {"max": 300}}), encoding="utf-8")
    for written in (str(path), f'"{path}" '):
        channel = channels.load(written)
        assert (channel.name, channel.size.low, channel.aspect) == ("my shop", (800, 600), (800, 600))
        assert (channel.least_bytes, channel.most_bytes) == (0, 300_000)


def test_kilobytes_hold_in_either_sense():
    channel = made(weight_kb={"min": 38, "max": 300})
    assert (channel.least_bytes, channel.most_bytes) == (38 * 1024, 300 * 1000)


def test_keys_that_are_left_out_have_defaults():
    channel = made(size={"min": [100, 100]})
    assert (channel.aspect, channel.background, channel.languages) == (None, "any", ("en",))
    assert (channel.product_share.low, channel.product_share.high) == (0, 1)
    assert made(languages="zh").languages == ("zh",)


WRONG = [
    ({"title": ...}, "shop.yaml: title is missing"),
    ({"source": ""}, "shop.yaml: source is '', expected a text"),
    ({"size": ...}, "shop.yaml: size is missing"),
    ({"size": 800}, "shop.yaml: size is 800, expected keys of its own"),
    ({"size": {"exact": [800]}}, r"shop.yaml: size: exact is \[800\], expected two whole numbers"),
    ({"size": {"exact": [0, 800]}}, "two whole numbers from 1 to 20000"),
    ({"size": {"exact": [1, 1], "width": 750}}, "size needs one of exact, min"),
    ({"size": {"exact": [1, 1], "max": [2, 2]}}, "size needs one of exact, min"),
    ({"size": {"width": True}}, "size: width is True"),
    ({"size": {"min": [9, 9], "max": [8, 9]}}, "max is smaller than min"),
    ({"size": {"lenght": 8}}, "size: there is no key 'lenght'"),
    ({"colour": "red"}, "there is no key 'colour'; the keys are title, source"),
    ({"aspect": [1, 1]}, "aspect goes with a min size only"),
    ({"size": {"min": [8, 8]}, "aspect": 61}, "aspect is 61, expected two whole numbers"),
    ({"product_share": {"min": 85}}, "product_share: min is 85, expected a number from 0 to 1"),
    ({"product_share": {"min": 0.9, "max": 0.8}}, "product_share: min is larger than max"),
    ({"background": "grey"}, "background is 'grey', expected one of white, transparent, any"),
    ({"background": "transparent"}, "format is JPEG, which has no transparency"),
    ({"format": "GIF"}, "format is 'GIF', expected one of PNG, JPEG, WEBP"),
    ({"quality": {"max": 101}}, "quality: max is 101, expected a number from 1 to 100"),
    ({"weight_kb": {"max": "1 MB"}}, "weight_kb: max is '1 MB', expected a number"),
    ({"visible_mark": True}, "visible_mark is True, expected one of required"),
    ({"position": 0}, "position is 0, expected a whole number from 1 on"),
    ({"languages": []}, r"languages is \[\], expected a list of texts"),
]


@pytest.mark.parametrize(("changes", "sentence"), WRONG)
def test_what_is_wrong_is_named_with_file_and_key(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        made(**changes)


def test_a_channel_that_is_not_there_is_named(tmp_path):
    for wrong in ("amazon", "", str(tmp_path)):
        with pytest.raises(UserError, match="the channels are amazon-main, amazon-secondary"):
            channels.load(wrong)
    (tmp_path / "a.yaml").write_text("title: [", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.yaml line"):
        channels.load(str(tmp_path / "a.yaml"))


def test_the_law_of_china_collides_with_channels_that_forbid_the_mark():
    asked = [name for name in channels.names() if law.collision(channels.load(name), "cn")]
    assert asked == ["amazon-main", "google-merchant", "jd-main", "taobao-white"]
    found = law.collision(channels.load("taobao-white"), "CN")
    assert found.question.startswith("GB 45438-2025 wants a visible mark") and found.question.endswith("?")
    assert "淘宝白底图" in found.question and list(found.answers) == ["without", "with", "leave out"]
    assert law.collision(channels.load("taobao-white"), "DE") is None


@pytest.mark.parametrize(
    ("rule", "market", "answer", "drawn"),
    [
        ("required", "", "without", True),
        ("allowed", "", "without", False),
        ("allowed", "DE", "without", False),
        ("allowed", "cn", "without", True),
        ("forbidden", "CN", "without", False),
        ("forbidden", "CN", "with", True),
        ("forbidden", "DE", "with", False),
    ],
)
def test_the_mark_is_drawn_where_channel_or_law_want_it(rule, market, answer, drawn):
    assert law.draws_mark(made(visible_mark=rule), market, answer) is drawn
