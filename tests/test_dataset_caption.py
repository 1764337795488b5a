"""Tags of a caption, trigger word and shuffled variants."""

import itertools

import pytest

from lora_scripts_ext.captions import caption
from lora_scripts_ext.config import from_dict


def config(**values):
    return from_dict({"train_data_dir": "in", "base_model": "m", "output_dir": "out", **values})


def test_tags_split_at_latin_and_chinese_commas():
    assert caption.parts(" red dress,, 海边\N{FULLWIDTH COMMA}日落 , ") == ["red dress", "海边", "日落"]


@pytest.mark.parametrize(
    ("text", "trigger", "expected"),
    [
        ("a cat. On a mat, asleep", "sks", "sks, a cat. On a mat, asleep"),
        ("sks, a cat", "sks", "sks, a cat"),
        ("a cat, SKS", "sks", "sks, a cat"),
        ("a cat\N{FULLWIDTH COMMA}sks", "sks", "sks, a cat"),
        ("sksy, a cat", "sks", "sks, sksy, a cat"),
        ("", "sks", "sks"),
        ("a cat", "", "a cat"),
        ("shoe, acme", "acme, red", "acme, red, shoe"),
    ],
)
def test_trigger_in_front_once(text, trigger, expected):
    assert caption.with_trigger(text, trigger) == expected


@pytest.mark.parametrize(
    ("text", "trigger", "words", "expected"),
    [
        ("sks, a cat, on a mat", "sks", "", "a cat, on a mat"),
        ("sks, a cat", "sks", "an animal", "an animal, a cat"),
        ("sks, a photo of SKS, sksy", "sks", "a cat", "a cat, a photo of a cat, sksy"),
        ("sks, a photo of sks asleep", "sks", "", "a photo of asleep"),
        ("sks", "sks", "", ""),
        ("acme, red, shoe", "acme, red", "a shoe", "a shoe, shoe"),
        ("sks, 一只sks在桌上", "sks", "猫", "猫, 一只猫在桌上"),
        ("小猫, 睡着的小猫", "小猫", "", "睡着的"),
        (r"a\g, (a\g)", r"a\g", r"\1", r"\1, (\1)"),
    ],
)
def test_the_class_in_place_of_the_trigger_word(text, trigger, words, expected):
    assert caption.of_class(text, trigger, words) == expected


def test_no_shuffle_keeps_the_text_as_written():
    assert caption.variants("b,a\N{FULLWIDTH COMMA} c", config(), "") == ("b,a\N{FULLWIDTH COMMA} c",)


def test_all_orders_when_few_exist():
    variants = caption.variants("sks, a, b, c", config(shuffle_caption=True, caption_variants=50), "sks")
    assert sorted(variants) == sorted(", ".join(("sks", *order)) for order in itertools.permutations("abc"))


def test_repeated_tags_count_once():
    variants = caption.variants("a, a, b", config(shuffle_caption=True, caption_variants=50), "")
    assert sorted(variants) == ["a, a, b", "a, b, a", "b, a, a"]


def test_keep_tokens_do_not_count_the_trigger():
    settings = config(shuffle_caption=True, keep_tokens=1, caption_variants=8)
    variants = caption.variants("acme, red, k, a, b, c, d", settings, "acme, red")
    assert len(set(variants)) == 8
    assert all(text.startswith("acme, red, k, ") for text in variants)
    assert all(sorted(caption.parts(text)) == ["a", "acme", "b", "c", "d", "k", "red"] for text in variants)


def test_variants_depend_on_seed_and_caption_only():
    settings = config(shuffle_caption=True)
    text = "a, b, c, d, e, f"
    assert caption.variants(text, settings, "") == caption.variants(text, settings, "")
    assert caption.variants(text, settings, "") != caption.variants(text, config(shuffle_caption=True, seed=7), "")


def test_variants_are_the_same_in_every_release():
    # Fixed once: a change here would give every resumed run other captions.
    variants = caption.variants("a, b, c, d", config(shuffle_caption=True, caption_variants=2), "")
    assert variants == ("b, c, a, d", "c, b, a, d")
