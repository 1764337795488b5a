"""Brand safety of training images: words in captions and file names, logos by a service or by CLIP; it only warns."""

import json
from threading import Thread

import pytest
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from lora_scripts_ext.captioning import logos
from lora_scripts_ext.captioning.base import CaptionerOptions, CaptionInput
from lora_scripts_ext.commands import check_dataset
from lora_scripts_ext.errors import UserError

from . import captioners
from .photos import photo
from .test_products_copywriting import Service

CODES = ("forbidden_word", "competitor", "logo")


@pytest.fixture
def service():
    with Service() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "set"
    (folder / "shoes").mkdir(parents=True)
    captions = {
        "a.png": "a Red-Cross shoe",
        "shoes/acme_02.png": "a shoe",
        "c.png": "a shoe like ＡＣＭＥ",
        "d.png": "acmes",
    }
    for number, (name, caption) in enumerate(captions.items()):
        photo(number).save(folder / name)
        (folder / name).with_suffix(".txt").write_text(caption, encoding="utf-8")
    (tmp_path / "words.yaml").write_text("forbidden: [red cross]\ncompetitors: [Acme]\n", encoding="utf-8")
    return folder


def checked(capsys, folder, *arguments, code=0):
    """The report that the command prints last, and what it says on stderr."""
    found = check_dataset.main(["--input", str(folder), "--resolution", "64", *map(str, arguments)])
    printed = capsys.readouterr()
    assert found == code, printed.err
    return json.loads(printed.out.splitlines()[-1]) if code == 0 else printed.err


def warned(report):
    """The texts of these findings, by image."""
    texts = {
        one["name"]: [reason["text"] for reason in one["reasons"] if reason["code"] in CODES]
        for one in report["pictures"]
    }
    return {name: found for name, found in texts.items() if found}


def test_words_are_warned_of_by_image(dataset, capsys):
    before = checked(capsys, dataset)
    report = checked(capsys, dataset, "--words", dataset.parent / "words.yaml", "--leave-out")
    assert warned(before) == {}
    assert warned(report) == {
        "a.png": ["its caption has the forbidden word 'red cross'"],
        "c.png": ["its caption names 'Acme', which the word list has as a competitor"],
        "shoes/acme_02.png": ["its file name names 'Acme', which the word list has as a competitor"],
    }
    # Nothing is excluded for that.
    assert (report["bad"], report["settings"]) == (before["bad"], before["settings"])
    assert "no.yaml" in checked(capsys, dataset, "--words", dataset.parent / "no.yaml", code=2)


def test_a_service_is_asked_about_logos_in_one_word(dataset, service, capsys, monkeypatch):
    monkeypatch.setenv("LOGO_KEY", "hush")
    answers = iter(['{"visible": "Yes"}', 'Here: {"visible": "no"}', "yes, there is", '{"visible": true}'])
    monkeypatch.setattr(
        Service, "answer", property(lambda self: next(answers), lambda self, value: None), raising=False
    )
    report = checked(capsys, dataset, "--logos", "--endpoint", service.url, "--key-from", "LOGO_KEY", "--model", "eye")
    assert len(service.asked) == 4 and all(
        one[1] == "Bearer hush" and one[2]["model"] == "eye" for one in service.asked
    )
    content = service.asked[0][2]["messages"][0]["content"]
    assert "logo" in content[0]["text"] and content[1]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    (found,) = warned(report).values()
    assert found == ["seems to show a logo, a watermark or text; the model may learn that, too"]
    assert report["warnings"] == [
        "2 images were not checked for logos, as the service's answer was neither yes nor no."
    ]
    service.status = 500
    monkeypatch.undo()
    assert "answers 500" in checked(capsys, dataset, "--logos", "--endpoint", service.url, code=2)


def test_clip_ranks_with_and_without_text(tmp_path):
    folder = captioners.write_clip(tmp_path / "clip")
    pixels = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue", "white", "black")]
    phrases = ["a photo with a logo or watermark or text", "a photo without any text"]
    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    with torch.no_grad():
        inputs = processor(text=phrases, images=pixels, return_tensors="pt", padding=True, truncation=True)
        ranked = model(**inputs).logits_per_image
    looks = logos.make(CaptionerOptions(model=str(folder), device="cpu"))
    found = looks.visible([CaptionInput(f"{number}.png", one) for number, one in enumerate(pixels)])
    looks.close()
    assert found == (ranked[:, 0] > ranked[:, 1]).tolist()


def test_without_either_a_sentence_says_what_is_needed(dataset, capsys, monkeypatch):
    monkeypatch.setattr(logos, "find_spec", lambda name: None)
    said = checked(capsys, dataset, "--logos", code=2)
    assert "needs the endpoint of an OpenAI-compatible service, or transformers and the model openai/clip" in said
    with pytest.raises(UserError, match="name the address of the service"):
        logos.make(CaptionerOptions(endpoint="nowhere"))
