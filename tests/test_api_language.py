"""Answers in Chinese: what people read is looked up, what they have written stays."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest
from starlette.requests import Request

from lora_scripts_ext import form_fields
from lora_scripts_ext.api import language, sentences
from lora_scripts_ext.api.service import Service
from lora_scripts_ext.channels import channel
from lora_scripts_ext.config import FIELDS
from lora_scripts_ext.jobs.environment import Bounds, Standalone
from lora_scripts_ext.library.database import Database

from . import api, shop

PACKAGE = Path(__file__).resolve().parents[1] / "lora_scripts_ext"
PLACE = re.compile(r"\{\w+\}")
CHINESE = re.compile("[\u4e00-\u9fff]")
HELP = {str(field.metadata["help"]) for field in FIELDS.values()}
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


def test_the_settings_of_the_server_are_there_in_chinese(client):
    settings = client.get("settings", accept_language="zh").json["settings"]
    for one in settings:
        for text in (one["label"], one["help"], one["where"], *(one["choice_labels"] or ())):
            assert CHINESE.search(text), text
    assert [one["choices"] for one in settings] == [one["choices"] for one in client.get("settings").json["settings"]]


def test_labels_are_those_of_choices_that_there_are(client):
    choices = {one["key"]: one["choices"] for one in client.get("config/schema").json["keys"]}
    for key, labels in form_fields._CHOICES.items():
        assert set(labels) <= set(choices[key])


def pieces_of_the_code():
    """What the code says between values: the parts of its strings and f-strings; and what channels are called."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(PLACE.split(node.value))
    found.update(channel.load(name).title for name in channel.names())
    # Short ones would fit anywhere.
    return {piece for piece in found if len(piece) > 2 or not re.search("[a-z]{2}", piece)} - {""}


def is_said(text, pieces):
    """Whether ``text`` is made of the pieces, by their first two characters, alone."""
    reached = {0}
    for at in range(len(text)):
        if at in reached:
            for start in (text[at : at + 1], text[at : at + 2]):
                reached |= {at + len(piece) for piece in pieces.get(start, ()) if text.startswith(piece, at)}
    return len(text) in reached


def test_what_is_translated_is_said_by_the_code():
    pieces = defaultdict(set)
    for piece in pieces_of_the_code():
        pieces[piece[:2]].add(piece)
    known = sentences.sentences("zh")
    assert len(known) > 400
    unsaid = [one for one in known if not all(is_said(text, pieces) for text in PLACE.split(one))]
    assert not unsaid


def test_the_chinese_of_a_sentence_has_its_values_and_its_remedy():
    for english, chinese in sentences.sentences("zh").items():
        assert re.search("[\u4e00-\u9fff：]", chinese) or english in NAMES, english
        names = re.findall(r"\{(\w+)\}", english)
        assert len(set(names)) == len(names), english
        assert set(re.findall(r"\{(\w+)\}", chinese)) <= set(names), english
        # A value that is said twice, the field, which is a member of its own, and articles may be left out.
        left_out = set(names) - set(re.findall(r"\{(\w+)\}", chinese)) - {"where", "key", "field", "article"}
        assert all(name.rstrip("2") in names and name.endswith("2") for name in left_out), english
        if "; " in english and english.endswith(".") and english not in HELP:
            assert "；" in chinese, english


@pytest.fixture
def service(tmp_path):
    return Service(Database(tmp_path / "data"), Standalone(tmp_path / "data", "", Bounds((tmp_path,))))


@pytest.fixture
def browser(service):
    with api.serving(service) as client:
        client.headers["accept-language"] = "zh-CN,zh;q=0.9,en;q=0.8"
        yield client


def test_errors_say_in_chinese_what_is_wrong_and_what_to_do(browser, tmp_path):
    answer = browser.post("models", {"name": "con"})
    assert (answer.status, answer.json["code"], answer.json["field"]) == (422, "invalid", "name")
    assert answer.json["detail"] == "名称 'con' 不能在所有系统上用作文件名：con 是 Windows 的保留名称；请换一个。"
    assert answer.json["remedy"] == "请换一个。"
    assert answer.headers["vary"] == "Accept-Language"
    config = {"train_data_dir": str(tmp_path), "base_model": str(tmp_path / "a"), "output_dir": "", "lora_rank": 0}
    answer = browser.post("estimate", {"config": config})
    assert answer.json["detail"] == "lora_rank 为 0，必须在 1 和 1024 之间。"
    assert answer.json["remedy"] == "请更正该项；然后重新提交。"
    answer = browser.get("models/none")
    assert answer.json["detail"] == "没有模型 none；请返回模型列表。" and answer.json["remedy"] == "请返回模型列表。"
    assert browser.get("models/none", accept_language="en").json["remedy"] == "GET /models lists them all."
    assert browser.get("models/none?lang=en").json["remedy"] == "GET /models lists them all."


def test_what_users_have_written_stays(browser, tmp_path):
    images = shop.write_images(tmp_path / "images", side=64)
    (images / "metadata.csv").write_text("filename,prompt\n00.png,A car\n", encoding="utf-8")
    model = browser.post("models", {"name": "Epochs", "trigger_word": "Captions", "folder": str(images)}).json
    assert (model["name"], model["trigger_word"]) == ("Epochs", "Captions")
    listed = browser.get(f"models/{model['id']}/images").json
    assert next(one["caption"] for one in listed["items"]) == "A car"
    config = {"preview_prompts": ["One product"], "preview_negative": "Epochs"}
    changed = browser.send("PATCH", f"models/{model['id']}", {"config": config})
    assert changed.json["config"] == config


def test_a_waiting_job_says_why_in_each_language(service, browser):
    first, second = api.add_job(service), api.add_job(service, "boots")
    service.queue.pause(True)
    for language_of, sentence in (("zh", "队列已暂停。"), ("en", "The queue is paused.")):
        page = browser.get("jobs", accept_language=language_of).json
        assert [job["waits_for"] for job in page["items"]] == [sentence, sentence]
        assert browser.get(f"jobs/{first.id}", accept_language=language_of).json["waits_for"] == sentence
    stopped = browser.post(f"jobs/{second.id}/stop").json
    assert (stopped["state"], stopped["reason"]) == ("stopped", "在启动前已停止。")


def test_events_are_in_the_language_of_the_query(service, browser):
    job = api.add_job(service)
    service.queue.stop(job.id)
    with browser.stream("events?lang=zh&last_event_id=0") as events:
        seen = [next(events)["data"] for _ in range(2)]
    assert [(one["state"], one["reason"]) for one in seen] == [("queued", ""), ("stopped", "在启动前已停止。")]


def test_a_request_that_is_sent_again_is_answered_in_its_own_language(browser):
    assert browser.post("queue/pause", {}, idempotency_key="a").status == 200
    english = browser.post("models", {"name": "han"}, idempotency_key="b", accept_language="en")
    chinese = browser.post("models", {"name": "han"}, idempotency_key="b")
    assert (english.status, chinese.status) == (201, 201)
    assert chinese.headers["idempotency-replayed"] == "true"
    assert english.json["problem"] != chinese.json["problem"] and CHINESE.search(chinese.json["problem"])


SENTENCES = [
    ("IMG 0 1.tga is in an image format that is not read; convert it to PNG or JPEG. Nothing was taken in.",
     "IMG 0 1.tga：是不支持的图片格式；请转换为 PNG 或 JPEG。没有导入任何文件。"),
    ("3 of 10 captions.", "已处理 3 / 10（描述）。"),
    ("Step 3 of 10, loss 0.1234.", "第 3 / 10 步，损失 0.1234。"),
    ("Waits for a; b (1), which is failed; retry that one, or change what this waits for.",
     "等待 a; b（1），而它的状态是“失败”；请重试那个任务，或修改本任务的等待对象。"),
    ("The queue is paused. It is being started.", "队列已暂停。正在启动。"),
    ("Nobody has ever said this. The queue is paused.", "Nobody has ever said this. The queue is paused."),
    ("3 of 10 things that nobody says.", "3 of 10 things that nobody says."),
    ("What {name} is", "What {name} is"),
]  # fmt: skip


@pytest.mark.parametrize(("english", "chinese"), SENTENCES)
def test_a_sentence_in_chinese(english, chinese):
    assert language.said(english) == chinese


def test_many_reasons_are_fast():
    """Each is another sentence, and some are made to be slow."""
    hostile = "Waits for " + " (a), which is" * 250
    items = [
        {"reasons": [{"code": "x", "text": f"{n} pixels on its shorter side, 512 are wanted"}]} for n in range(5000)
    ]
    items += [{"reason": f"{hostile} {n}"} for n in range(200)]
    answer = language.translated({"items": items}, "zh")
    assert answer["items"][7]["reasons"][0]["text"] == "短边只有 7 像素，需要 512 像素"


def test_channels_are_called_by_chinese_names_also_within_a_question(client):
    channels = client.get("channels?market=CN", accept_language="zh").json["items"]
    assert all(CHINESE.search(one["title"]) and "(" not in one["title"] for one in channels)
    (asked,) = (one for one in channels if one["name"] == "amazon-main")
    assert "亚马逊主图" in asked["question"] and "Amazon" not in asked["question"]
