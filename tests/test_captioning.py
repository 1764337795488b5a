"""Captioners: tiny models of each kind made here, real files, and the command."""

import base64
import io
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForImageClassification,
    BlipForConditionalGeneration,
    BlipProcessor,
    CLIPModel,
    CLIPProcessor,
    ViTImageProcessor,
)

from lora_scripts_ext.captioning import choose, exchange
from lora_scripts_ext.captioning.base import CaptionerOptions, CaptionInput
from lora_scripts_ext.captioning.clip_rank import read_words
from lora_scripts_ext.captioning.endpoint import parse
from lora_scripts_ext.captioning.file_names import read
from lora_scripts_ext.captioning.label import label
from lora_scripts_ext.captions.fields import Fields, check, join
from lora_scripts_ext.captions.store import CaptionStore
from lora_scripts_ext.errors import UserError

from . import captioners

ROOT = Path(__file__).parents[1]
COLOURS = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255)}


def image(colour: str, side: int = 40) -> CaptionInput:
    return CaptionInput(f"{colour}.png", Image.new("RGB", (side, side // 2), COLOURS[colour]))


def write_set(folder: Path) -> Path:
    for name in ("phones/black-phone_front.jpg", "IMG_0001.jpg", "red cup_02.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 32), "red").save(folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8no image")
    return folder


def caption_with(captioner: str, *images: CaptionInput, **options) -> list[Fields]:
    model = choose.make(CaptionerOptions(captioner=captioner, device="cpu", **options))
    try:
        return model.caption(images or [image("red"), image("blue")])
    finally:
        model.close()


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("phones/03_black-iphone 13 pro_front.jpg", "black iphone 13 pro, phones, front view"),
        ("10_mug/IMG_1234.jpg", "mug"),
        ("IMG_20230405_123456.jpg", ""),
        ("3f2a99bc01.png", ""),
        ("cars/blueBMW_X5-side.jpg", "blue BMW X5, cars, side view"),
        ("手机/红色 手机_正面.jpg", "红色 手机, 正面"),
        ("data/lamp (3).jpg", "lamp"),
        ("shoes/nike-air-max-90.jpg", "nike air max 90, shoes"),
        ("red sofa_02.jpg", "red sofa"),
    ],
)
def test_a_file_name_gives_its_fields_and_no_more(name, caption):
    assert join(read(name)) == caption


def test_a_template_orders_the_fields_and_drops_empty_ones():
    fields = Fields("cup", ("red", "matte"), "", "soft light")
    assert join(fields) == "cup, red, matte, soft light"
    assert join(fields, "{style}, {subject} in {scene}, {attributes}") == "soft light, cup in, red, matte"
    for wrong in ("{colour}", "no field", "{subject"):
        with pytest.raises(UserError, match="template"):
            check(wrong)


def test_blip_captions_equal_transformers(tmp_path):
    folder = captioners.write_blip(tmp_path / "blip")
    pixels = [image(colour).pixels for colour in COLOURS]
    model, processor = BlipForConditionalGeneration.from_pretrained(folder), BlipProcessor.from_pretrained(folder)
    tokens = model.generate(**processor(images=pixels, return_tensors="pt"), max_new_tokens=40, num_beams=3)
    expected = [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]
    fields_by_image = caption_with("blip", *map(image, COLOURS), model=str(folder))
    assert [one.subject for one in fields_by_image] == expected
    assert all(expected)


def test_florence_captions_equal_transformers(tmp_path):
    transformers = pytest.importorskip("transformers", minversion="4.56")
    folder = captioners.write_florence(tmp_path / "florence")
    pixels = [image(colour).pixels for colour in COLOURS]
    processor = transformers.AutoProcessor.from_pretrained(folder)
    processed = processor(text=["<CAPTION>"] * len(pixels), images=pixels, return_tensors="pt")
    model = transformers.Florence2ForConditionalGeneration.from_pretrained(folder)
    tokens = model.generate(**processed, max_new_tokens=96, num_beams=3, do_sample=False)
    expected = [text.strip().rstrip(".") for text in processor.batch_decode(tokens, skip_special_tokens=True)]
    fields_by_image = caption_with("florence", *map(image, COLOURS), model=str(folder))
    assert [one.subject for one in fields_by_image] == expected
    assert all(expected)


def test_a_classifier_names_the_likeliest_class(tmp_path):
    folder = captioners.write_vit(tmp_path / "vit")
    pixels = [image(colour).pixels for colour in COLOURS]
    processed = ViTImageProcessor.from_pretrained(folder)(images=pixels, return_tensors="pt")
    with torch.no_grad():
        best = AutoModelForImageClassification.from_pretrained(folder)(**processed).logits.argmax(-1).tolist()
    fields_by_image = caption_with("vit", *map(image, COLOURS), model=str(folder))
    assert [one.subject for one in fields_by_image] == [captioners.CLASSES[index].split(",")[0] for index in best]


def test_clip_ranks_the_users_own_phrases(tmp_path):
    folder = captioners.write_clip(tmp_path / "clip")
    phrase_file = tmp_path / "words.txt"
    phrase_file.write_text(
        "matte\nglossy\n# a comment\n[subject]\ncup\nphone\nsofa\n[style]\nstudio light\n", encoding="utf-8"
    )
    choices = read_words(phrase_file)
    assert choices == {
        "attributes": ("matte", "glossy"),
        "subject": ("cup", "phone", "sofa"),
        "style": ("studio light",),
    }
    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    pixels = [image(colour).pixels for colour in COLOURS]
    prompts = [f"a photo of {phrase}" for phrase in choices["subject"]]
    with torch.no_grad():
        ranked = model(**processor(text=prompts, images=pixels, return_tensors="pt", padding=True)).logits_per_image
    fields_by_image = caption_with("clip", *map(image, COLOURS), model=str(folder), words=phrase_file)
    assert [one.subject for one in fields_by_image] == [
        choices["subject"][index] for index in ranked.argmax(-1).tolist()
    ]
    assert {one.style for one in fields_by_image} == {"studio light"}
    with pytest.raises(UserError, match="chooses among your own words, and is given none"):
        caption_with("clip", model=str(folder))
    phrase_file.write_text("[colour]\nred\n")
    with pytest.raises(UserError, match=r"line 1: \[colour\] is no field"):
        read_words(phrase_file)


def test_a_tagger_tags_what_is_likely_and_never_its_rating(tmp_path):
    pytest.importorskip("onnxruntime")
    folder = captioners.write_wd14(tmp_path / "wd14")
    square = CaptionInput("a.png", Image.new("RGB", (8, 8), (255, 0, 200)))
    wide = CaptionInput("b.png", Image.new("RGB", (8, 4), (0, 0, 0)))
    fields_by_image = caption_with("wd14", square, wide, model=str(folder))
    assert fields_by_image[0] == Fields("mr red", ("very blue",))
    # Padded with white, half of it is bright in every channel.
    assert fields_by_image[1] == Fields("mr red", ("very blue", "green"))
    with pytest.raises(UserError, match="name the folder of a WD14 tagger"):
        caption_with("wd14", model=str(tmp_path))


class Service(BaseHTTPRequestHandler):
    """An OpenAI-compatible service that records its requests."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.server.requests.append((self.path, self.headers["Authorization"], body))
        response = json.dumps({"choices": [{"message": {"content": self.server.content}}]}).encode()
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.server.write_response(self.wfile, response)

    def do_GET(self):
        self.server.requests.append((self.path, self.headers["Authorization"], None))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def serving():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.requests, server.status, server.content = [], 200, '```json\n{"subject": "cup", "attributes": ["red"]}\n```'
    server.headers, server.write_response = {}, lambda out, response: out.write(response)
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def service():
    with serving() as server:
        yield server


@pytest.fixture
def other():
    with serving() as server:
        yield server


def test_an_endpoint_is_called_only_where_it_is_configured(service, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    url = f"http://127.0.0.1:{service.server_port}/v1"
    assert caption_with("endpoint", image("red"), endpoint=url, key_from="MY_KEY", model="m") == [
        Fields("cup", ("red",))
    ]
    path, key, body = service.requests[0]
    assert (path, key, body["model"]) == ("/v1/chat/completions", "Bearer secret", "m")
    sent = body["messages"][0]["content"][1]["image_url"]["url"].removeprefix("data:image/jpeg;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(sent))).size == (40, 20)
    service.status = 401
    with pytest.raises(UserError, match="answers 401"):
        caption_with("endpoint", image("red"), endpoint=url)
    with pytest.raises(UserError, match="name the address of the service"):
        caption_with("endpoint", image("red"))
    with pytest.raises(UserError, match="gives no response"):
        caption_with("endpoint", image("red"), endpoint="http://127.0.0.1:9/v1")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_so_the_key_stays(service, other, status, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    for target in (other.url, service.url + "/elsewhere", "file:///etc/passwd"):
        service.status, service.headers = status, {"Location": target}
        with pytest.raises(UserError, match=f"answers {status}: it wants to redirect"):
            caption_with("endpoint", image("red"), endpoint=service.url, key_from="MY_KEY")
    assert other.requests == []
    assert len(service.requests) == 3


@pytest.mark.parametrize("status", [200, 500])
def test_an_endless_response_is_not_read_to_its_end(service, status):
    def pour(out, response):
        with suppress(OSError):
            while True:
                out.write(b" " * 65536)

    service.status, service.write_response = status, pour
    sentence = "larger than 1 MB" if status == 200 else "answers 500"
    with pytest.raises(UserError, match=sentence):
        caption_with("endpoint", image("red"), endpoint=service.url)


@pytest.mark.parametrize("where", ["body", "headers"])
def test_a_service_that_sends_too_slowly_times_out(service, where, monkeypatch):
    monkeypatch.setattr(exchange, "SECONDS", 1)
    over = threading.Event()

    def drip(out, response):
        with suppress(OSError):
            while not over.is_set():
                out.write(b" ")
                time.sleep(0.1)

    if where == "body":
        service.write_response = drip
    else:
        monkeypatch.setattr(Service, "send_response", lambda self, status: drip(self.wfile, b""))
    with pytest.raises(UserError, match="no whole response within 1 seconds"):
        caption_with("endpoint", image("red"), endpoint=service.url)
    over.set()


@pytest.mark.parametrize(
    ("endpoint", "sentence"),
    [
        ("http://me:hush@127.0.0.1/v1", r"http://…@127\.0\.0\.1 holds a user name or password"),
        ("http://me:hush@127.0.0.1:port/v1", "name the address of the service"),
        ("http://[::1/v1", "name the address of the service"),
        ("http://127.0.0.1:123456/v1", "name the address of the service"),
        ("file:///etc/passwd", "name the address of the service"),
        ("ftp://host/v1", "name the address of the service"),
        ("http:///v1", "name the address of the service"),
    ],
)
def test_an_invalid_endpoint_url_is_refused_and_no_password_repeated(endpoint, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        choose.make(CaptionerOptions("endpoint", endpoint=endpoint))
    assert "hush" not in str(refused.value)


def test_a_key_in_the_query_is_sent_but_never_shown(service):
    service.status = 403
    with pytest.raises(UserError, match="/v1/chat/completions answers 403") as refused:
        caption_with("endpoint", image("red"), endpoint=f"{service.url}/?key=hush")
    assert service.requests[0][0] == "/v1/chat/completions?key=hush"
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("key", ["hush\nhush", "hush’"])
def test_a_variable_that_holds_no_key_is_named_but_not_its_value(service, key, monkeypatch):
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(UserError, match="key_from is MY_KEY: what it holds is no key") as refused:
        caption_with("endpoint", image("red"), endpoint=service.url, key_from="MY_KEY")
    assert "hush" not in str(refused.value)


def test_what_is_no_caption_is_a_sentence(service):
    for content in (None, ["red"], "a" * 100_000):
        service.content = content
        with pytest.raises(UserError, match="gives no response that can be read"):
            caption_with("endpoint", image("red"), endpoint=service.url)
    for sent in (b"[" * 500_000, b"", b"{}", b'"text"', b"null"):
        service.write_response = lambda out, response, sent=sent: out.write(sent)
        with pytest.raises(UserError, match="gives no response that can be read"):
            caption_with("endpoint", image("red"), endpoint=service.url)


def test_a_caption_holds_nothing_that_a_terminal_obeys_or_a_file_cannot_hold(service):
    service.content = '{"subject": "a \\u001b[31mcup\\ud800", "style": "soft\\nlight"}'
    fields = caption_with("endpoint", image("red"), endpoint=service.url)
    assert fields == [Fields("a [31mcup", style="soft light")]


def test_a_local_endpoint_is_called_without_a_proxy(service, other, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{other.server_port}")
    assert caption_with("endpoint", image("red"), endpoint=service.url) == [Fields("cup", ("red",))]
    assert other.requests == []


def test_a_response_without_json_is_the_subject():
    assert parse(" A red cup.\n") == Fields("A red cup")
    assert parse('{"subject": null, "attributes": "a, b", "style": "x"}') == Fields("", ("a", "b"), "", "x")


def test_the_webuis_own_captioners_run_under_the_queues_lock(monkeypatch):
    calls = []
    lock = threading.Lock()
    theirs = SimpleNamespace(
        load=lambda: calls.append("load"),
        generate_caption=lambda pixels: calls.append(lock.locked()) or "a photo of a cup",
        unload=lambda: calls.append("unload"),
    )
    tagger = SimpleNamespace(start=lambda: None, tag_multi=lambda pixels: r"cup, simple \(style\)", stop=lambda: None)
    parts = {
        "shared": SimpleNamespace(interrogator=theirs),
        "deepbooru": SimpleNamespace(model=tagger),
        "call_queue": SimpleNamespace(queue_lock=lock),
    }
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace(**parts))
    for name, part in parts.items():
        monkeypatch.setitem(sys.modules, f"modules.{name}", part)
    assert caption_with("interrogate", image("red")) == [Fields("a cup")]
    assert calls == ["load", True, "unload"]
    assert caption_with("deepbooru", image("red")) == [Fields("", ("cup", "simple (style)"))]


def test_a_webui_without_interrogator_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "modules", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "modules.shared", SimpleNamespace())
    with pytest.raises(UserError, match="works in AUTOMATIC1111 and Forge only"):
        caption_with("interrogate")


def test_what_is_missing_is_a_sentence_that_names_how_to_get_it(tmp_path):
    with pytest.raises(UserError, match="did you mean blip"):
        caption_with("blup")
    with pytest.raises(UserError, match=r"run auto_label.py once with --download, or name a folder"):
        caption_with("blip", model="nobody/nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no BlipForConditionalGeneration can be read from this folder"):
        caption_with("blip", model=str(tmp_path / "empty"))
    with pytest.raises(UserError, match="works in AUTOMATIC1111 and Forge only"):
        caption_with("deepbooru")


def test_no_pickle_is_loaded(tmp_path):
    folder = captioners.write_vit(tmp_path / "vit")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"must hold config.json and model.safetensors"):
        caption_with("vit", model=str(folder))


def test_images_are_captioned_once_and_what_a_person_wrote_stays(tmp_path):
    folder = write_set(tmp_path / "set")
    (folder / "metadata.csv").write_text('filename,prompt\nIMG_0001.jpg,"my own words"\n')
    store = CaptionStore.open(folder)
    done = label(folder, store, choose.make(CaptionerOptions("names")), trigger="brnd")
    assert (done.written, done.kept) == (3, 1)
    again = CaptionStore.open(folder)
    assert again.entry("IMG_0001.jpg").prompt == "my own words"
    assert again.entry("phones/black-phone_front.jpg").prompt == "brnd, black phone, phones, front view"
    assert again.entry("phones/black-phone_front.jpg").fields == Fields("black phone", ("phones", "front view"))
    assert [again.entry(name).edited for name in sorted(again.names)] == [True, False, False, False]
    replaced = label(folder, again, choose.make(CaptionerOptions("names")), overwrite="ours")
    assert (replaced.written, again.entry("IMG_0001.jpg").prompt) == (3, "my own words")
    assert again.entry("red cup_02.png").prompt == "red cup"
    every = label(folder, again, choose.make(CaptionerOptions("names")), overwrite="all")
    # Its name gives nothing: the person's caption is not replaced by it.
    assert (every.kept, again.entry("IMG_0001.jpg").prompt) == (0, "my own words")


def test_a_stop_keeps_what_is_captioned_and_the_next_call_does_the_rest(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for index in range(9):
        Image.new("RGB", (20, 20), (index, 0, 0)).save(folder / f"{index}.png")

    class Stop(Exception):
        pass

    class Slow:
        name, looks, batch, calls = "slow", True, 1, 0

        def caption(self, images):
            self.calls += 1
            return [Fields(f"picture {one.name}") for one in images]

    def check():
        if slow.calls == 4:
            raise Stop

    slow = Slow()
    with pytest.raises(Stop):
        label(folder, CaptionStore.open(folder), slow, check=check)
    assert sum(bool(CaptionStore.open(folder).entry(name).prompt) for name in CaptionStore.open(folder).names) == 4
    rest = Slow()
    done = label(folder, CaptionStore.open(folder), rest)
    assert (done.written, done.kept, rest.calls) == (5, 4, 5)


def test_an_image_that_cannot_be_read_is_skipped_with_the_reason(tmp_path):
    folder = write_set(tmp_path / "set")
    vit = captioners.write_vit(tmp_path / "vit")
    done = label(folder, CaptionStore.open(folder), choose.make(CaptionerOptions("vit", model=str(vit), device="cpu")))
    assert (done.written, [one.name for one in done.skipped]) == (3, ["broken.jpg"])


def run(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "auto_label.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})


def test_the_command_writes_the_csv_that_csv_out_names(tmp_path):
    folder = write_set(tmp_path / "set")
    out = tmp_path / "captions" / "metadata.csv"
    done = run("--input", folder, "--output", out, "--captioner", "names", "--trigger", "brnd", "--sidecars")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["captioner"], summary["written"], summary["sidecars"]) == ("names", 3, 3)
    assert out.read_text().splitlines()[0] == "filename,prompt"
    assert (folder / "red cup_02.txt").read_text() == "brnd, red cup\n"
    again = run("--input", folder, "--output", out, "--captioner", "names")
    assert json.loads(again.stdout.splitlines()[-1])["written"] == 0
    wrong = run("--input", tmp_path / "nowhere")
    assert wrong.returncode == 2
    assert "there is no folder" in wrong.stderr
    assert "Traceback" not in wrong.stderr
