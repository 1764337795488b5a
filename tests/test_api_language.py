"""Answers in Chinese: what people read is looked up, what they have written stays."""

import re

import pytest
from starlette.requests import Request

from lora_scripts_ext import form_fields
from lora_scripts_ext.api import language
from lora_scripts_ext.config import FIELDS

from . import api

CHINESE = re.compile("[\u4e00-\u9fff]")
# Names that are the same in every language.
NAMES = {"LoRA alpha", "LoRA dropout", "CLIP skip"}


@pytest.fixture
def client(tmp_path):
    with api.serving(api.make_service(tmp_path)) as client:
        yield client


def prefers(header, query=""):
    scope = {"type": "http", "query_string": query.encode(), "headers": [(b"accept-language", header.encode())]}
    return language.of(Request(scope))


@pytest.mark.parametrize(
    ("header", "query", "wanted"),
    [
        ("", "", "en"),
        ("zh", "", "zh"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "", "en"),
        ("de, zh-TW;q=0.7, en;q=0.5", "", "zh"),
        ("zh;q=0, en;q=0.1", "", "en"),
        ("zh;q=x, *", "", "en"),
        ("en", "lang=zh", "zh"),
        ("zh", "lang=en", "en"),
        ("zh", "lang=fr", "en"),
    ],
)
def test_a_request_prefers_a_language(header, query, wanted):
    assert prefers(header, query) == wanted


def test_every_key_of_the_schema_is_there_in_chinese(client):
    english = client.get("config/schema")
    chinese = client.get("config/schema", accept_language="zh-CN,zh;q=0.9")
    assert english.headers["vary"] == chinese.headers["vary"] == "Accept-Language"
    assert not CHINESE.search(english.body.decode())
    keys = {one["key"]: one for one in chinese.json["keys"]}
    assert set(keys) == set(FIELDS)
    for one in keys.values():
        assert CHINESE.search(one["help"]), one["key"]
        assert CHINESE.search(one["label"]) or one["label"] in NAMES, one["key"]
        assert not one["group"] or one["group"] in chinese.json["groups"]
    assert all(map(CHINESE.search, chinese.json["groups"]))
    assert keys["crop"]["choices"] == ["center", "top", "random"]
    assert keys["crop"]["choice_labels"] == ["中间", "上部（保留人脸）", "随机部分"]
    # Nothing but words differs.
    said = ("label", "help", "group", "choice_labels")
    for one in english.json["keys"]:
        assert {**one, **dict.fromkeys(said)} == {**keys[one["key"]], **dict.fromkeys(said)}


def test_labels_are_those_of_choices_that_there_are(client):
    choices = {one["key"]: one["choices"] for one in client.get("config/schema").json["keys"]}
    for key, labels in form_fields._CHOICES.items():
        assert set(labels) <= set(choices[key])
