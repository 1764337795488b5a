"""Another WebUI draws over its API: against a fake one, which answers as AUTOMATIC1111 1.10.1 does."""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lora_scripts_ext.config import Config
from lora_scripts_ext.contract import Control, DrawRequest, Inpainting, Region, WeightedLora
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.sdapi.host import SdapiHost

REQUEST = DrawRequest("a shoe", "blurry", (7, 8, 20), 48, 40, 4, 7.0, "Euler")
CHECKPOINTS = [
    {"title": "base.safetensors [abc]", "model_name": "base", "hash": "abc", "sha256": None,
     "filename": "/m/base.safetensors"},
    {"title": "sub\\real.safetensors [d]", "model_name": "sub_real", "hash": "d", "sha256": "ab" * 32,
     "filename": "C:\\models\\sub\\real.safetensors"},
]  # fmt: skip


class Fake(ThreadingHTTPServer):
    """Answers from ``routes``, and remembers what it was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.headers = [], []
        self.loras = [{"name": "brand", "alias": "Brand", "path": "/l/brand.safetensors", "metadata": {}}]
        self.routes = {
            "GET /sdapi/v1/sd-models": lambda body: CHECKPOINTS,
            "GET /sdapi/v1/options": lambda body: {
                "sd_model_checkpoint": "base.safetensors [abc]",
                "img2img_color_correction": True,
                "return_mask": True,
            },
            "GET /sdapi/v1/samplers": lambda body: [{"name": "Euler"}, {"name": "DPM++ 2M"}],
            "GET /sdapi/v1/schedulers": lambda body: [{"name": "karras", "label": "Karras"}],
            "GET /sdapi/v1/loras": lambda body: self.loras,
            "POST /sdapi/v1/refresh-loras": lambda body: None,
            "POST /sdapi/v1/txt2img": drawn,
            "POST /sdapi/v1/img2img": drawn,
        }

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        route = f"{self.command} {self.path}"
        self.server.asked.append((route, body))
        self.server.headers.append(dict(self.headers))
        found = self.server.routes.get(route, 404)
        status, content = (found, {"detail": "no"}) if isinstance(found, int) else (200, found(body))
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = answer

    def log_message(self, *_):
        """Quiet."""


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def drawn(body):
    """An image a seed, whose red is the seed."""
    seeds = range(body["seed"], body["seed"] + body["batch_size"])
    images = [Image.new("RGB", (body["width"], body["height"]), (seed, 0, 0)) for seed in seeds]
    return {"images": [png(image) for image in images], "parameters": {}, "info": "{}"}


@pytest.fixture
def fake():
    with Fake() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def drawer(fake):
    with SdapiHost(fake.address).drawing("") as opened:
        yield opened


def bodies(fake, route):
    return [body for asked, body in fake.asked if asked == f"POST /sdapi/v1/{route}"]


def test_seeds_that_follow_one_another_are_one_batch(fake, drawer):
    images = drawer.draw(REQUEST)
    assert [image.getpixel((0, 0)) for image in images] == [(7, 0, 0), (8, 0, 0), (20, 0, 0)]
    first, second = bodies(fake, "txt2img")
    assert [(one["seed"], one["batch_size"]) for one in (first, second)] == [(7, 2), (20, 1)]
    # As the WebUI's schema names them.
    assert {key: first[key] for key in ("prompt", "negative_prompt", "steps", "cfg_scale", "width", "height")} == {
        "prompt": "a shoe", "negative_prompt": "blurry", "steps": 4, "cfg_scale": 7.0, "width": 48, "height": 40,
    }  # fmt: skip
    assert first["sampler_name"] == "Euler"
    # A setting that it does not know makes A1111 fail.
    assert first["override_settings"] == {
        "sd_model_checkpoint": "base.safetensors [abc]",
        "img2img_color_correction": False,
        "return_mask": False,
    }
    assert first["override_settings_restore_afterwards"] is True


def test_sizes_of_no_whole_cells_are_cropped(fake, drawer):
    image = drawer.draw(DrawRequest("", "", (1,), 45, 33, 4, 7.0, "DPM++ 2M Karras"))[0]
    body = bodies(fake, "txt2img")[0]
    assert image.size == (45, 33) and (body["width"], body["height"]) == (48, 40)


def test_inpainting_is_img2img_and_keeps_the_pixels(fake, drawer):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8))
    mask = Image.new("L", (48, 40), 0)
    mask.paste(255, (20, 0, 48, 40))
    request = DrawRequest("a", "", (9,), 48, 40, 4, 7.0, "Euler", inpainting=Inpainting(picture, mask, 0.75))
    image = np.asarray(drawer.draw(request)[0])
    assert np.array_equal(image[:, :20], np.asarray(picture)[:, :20])
    assert (image[:, 20:] == [9, 0, 0]).all()
    body = bodies(fake, "img2img")[0]
    assert body["denoising_strength"] == 0.75 and body["inpainting_fill"] == 1 and body["mask_blur"] == 0
    sent = Image.open(io.BytesIO(base64.b64decode(body["init_images"][0])))
    assert sent.tobytes() == picture.tobytes()
    # Cells with anything to draw are drawn: from 16 on.
    assert Image.open(io.BytesIO(base64.b64decode(body["mask"]))).getbbox() == (16, 0, 48, 40)


def test_loras_are_those_that_the_webui_lists(fake, drawer, tmp_path):
    loras = (WeightedLora(tmp_path / "brand.safetensors", 0.8), WeightedLora(tmp_path / "none.safetensors", 0.0))
    drawer.draw(DrawRequest("a shoe", "", (1,), 48, 40, 4, 7.0, "Euler", loras=loras))
    assert bodies(fake, "txt2img")[0]["prompt"] == "a shoe <lora:brand:0.8>"
    with pytest.raises(UserError, match=r"none: the WebUI at http.* lists no LoRA of this name; copy the file"):
        drawer.draw(DrawRequest("", "", (1,), 48, 40, 4, 7.0, "Euler", loras=(WeightedLora(Path("none.safetensors")),)))
    assert ("POST /sdapi/v1/refresh-loras", {}) in fake.asked


def test_another_file_of_the_name_is_noticed(fake, drawer, tmp_path):
    path = tmp_path / "brand.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"sshs_model_hash": "11"})
    request = DrawRequest("", "", (1,), 48, 40, 4, 7.0, "Euler", loras=(WeightedLora(path),))
    fake.loras[0]["metadata"] = {"sshs_model_hash": "11"}
    assert len(drawer.draw(request)) == 1
    fake.loras[0]["metadata"] = {"sshs_model_hash": "22"}
    with pytest.raises(UserError, match=r"brand\.safetensors: .*has another file of this name"):
        drawer.draw(request)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("", CHECKPOINTS[0]["title"]),
        ("base", CHECKPOINTS[0]["title"]),
        ("/elsewhere/real.safetensors", CHECKPOINTS[1]["title"]),
        ("real", CHECKPOINTS[1]["title"]),
    ],
)
def test_the_checkpoint_is_named(fake, name, title):
    with SdapiHost(fake.address, resolution=512, cfg_scale=5.0).drawing(name) as drawer:
        drawer.draw(REQUEST)
        assert (drawer.resolution, drawer.cfg_scale) == (512, 5.0)
        assert drawer.model_hash == ("ab" * 32 if "real" in title else "")
    assert bodies(fake, "txt2img")[0]["override_settings"]["sd_model_checkpoint"] == title


def test_a_checkpoint_that_is_not_there(fake):
    with pytest.raises(UserError, match="has no checkpoint 'x'; it has: base, sub_real"):
        SdapiHost(fake.address).drawing("x").__enter__()


def test_controlnet(fake, drawer):
    control = Control(Image.new("RGB", (8, 8), (1, 2, 3)), "Canny", "control_canny", 0.6)
    reference = Control(Image.new("RGB", (8, 8)), "", "ip-adapter")
    request = DrawRequest("", "", (1,), 48, 40, 4, 7.0, "Euler", control=control, reference=reference)
    assert "has no ControlNet; install it there" in drawer.lacks(request)
    fake.routes["GET /controlnet/model_list"] = lambda body: {"model_list": ["control_canny [0a]", "ip-adapter [0b]"]}
    fake.routes["GET /controlnet/module_list"] = lambda body: {"module_list": ["none", "canny"]}
    assert drawer.lacks(request) == ""
    drawer.draw(request)
    units = bodies(fake, "txt2img")[0]["alwayson_scripts"]["ControlNet"]["args"]
    assert [(one["module"], one["model"], one["weight"]) for one in units] == [
        ("canny", "control_canny [0a]", 0.6),
        ("none", "ip-adapter [0b]", 1.0),
    ]
    assert Image.open(io.BytesIO(base64.b64decode(units[0]["image"]))).getpixel((0, 0)) == (1, 2, 3)
    fake.routes["GET /controlnet/module_list"] = lambda body: {"module_list": ["none"]}
    assert "ControlNet has no 'Canny' in this WebUI; it has: none" in drawer.lacks(request)


def test_what_it_lacks(drawer):
    regions = (Region("a", (), Image.new("L", (48, 40), 255)),)
    assert "regions" in drawer.lacks(DrawRequest("", "", (1,), 48, 40, 4, 7.0, "Euler", regions=regions))
    unknown = DrawRequest("", "", (1,), 48, 40, 4, 7.0, "Heun")
    assert "no sampler 'Heun'" in drawer.lacks(unknown)
    with pytest.raises(UserError, match="no sampler 'Heun'"):
        drawer.draw(unknown)


@pytest.mark.parametrize(
    ("route", "answer", "sentence"),
    [
        ("POST /sdapi/v1/txt2img", 500, "txt2img answers 500; its own console says why"),
        ("POST /sdapi/v1/txt2img", 401, "answers 401; name the environment variable"),
        ("POST /sdapi/v1/txt2img", 302, "answers 302; it redirects"),
        ("POST /sdapi/v1/txt2img", 404, "has no API for drawing; start that WebUI with --api"),
        ("POST /sdapi/v1/txt2img", lambda body: {"images": []}, "has drawn 0 of 2 images"),
        ("POST /sdapi/v1/txt2img", lambda body: {"images": ["bm8="] * 2}, "its response holds no images"),
        ("POST /sdapi/v1/txt2img", lambda body: {}, "its response holds no images"),
        ("POST /sdapi/v1/txt2img", lambda body: b"<html>", "gives no response that can be read"),
    ],
)
def test_what_goes_wrong_is_said(fake, drawer, route, answer, sentence):
    fake.routes[route] = answer
    with pytest.raises(UserError, match=sentence):
        drawer.draw(REQUEST)


def test_a_server_that_is_no_webui(fake):
    for answer in (404, lambda body: [], lambda body: {}):
        fake.routes["GET /sdapi/v1/options"] = answer
        with pytest.raises(UserError, match=r"has no API for drawing|is it a WebUI"):
            SdapiHost(fake.address).drawing("").__enter__()


def test_addresses_and_logins(fake, monkeypatch):
    for address in ("", "ftp://x", "http://user:secret@host", "http://host/?a=1", "http://["):
        with pytest.raises(UserError, match="The address of the WebUI is") as error:
            SdapiHost(address)
        assert "secret" not in str(error.value)
    with pytest.raises(UserError, match="gives no response that can be read"):
        SdapiHost("http://127.0.0.1:9").drawing("").__enter__()
    with pytest.raises(UserError, match="no environment variable NO_LOGIN"):
        SdapiHost(fake.address, "NO_LOGIN")
    monkeypatch.setenv("WEBUI_LOGIN", "user:word")
    SdapiHost(fake.address, "WEBUI_LOGIN").drawing("").__enter__()
    assert fake.headers[-1]["Authorization"] == f"Basic {base64.b64encode(b'user:word').decode()}"


def test_it_only_draws(fake):
    host = SdapiHost(fake.address)
    for call in (lambda: host.open(Config()), host.lora_dir, lambda: host.publish(Path("a"))):
        with pytest.raises(UserError, match="only draws"):
            call()
