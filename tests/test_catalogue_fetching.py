"""Photos with an address: fetched once, from where the settings say, and nowhere else."""

import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from lora_scripts_ext.catalogue import candidates, decisions, fetching
from lora_scripts_ext.catalogue.export import export
from lora_scripts_ext.catalogue.generate import Generated, generate
from lora_scripts_ext.catalogue.loras import Loras
from lora_scripts_ext.catalogue.product import Plan
from lora_scripts_ext.catalogue.settings import Settings
from lora_scripts_ext.catalogue.store import Catalogue, Planned
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.products.product import Product
from lora_scripts_ext.products.rules import Rules


def photo():
    """A PNG of a dark box that is cut out."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[8:56, 12:52] = (40, 60, 20, 255)
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, format="PNG")
    return packed.getvalue()


class Shop(ThreadingHTTPServer):
    """A shop's photos, and the paths that were asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/photos/"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        name = self.path.rpartition("/")[2]
        self.send_response({"gone.png": 404, "moved.png": 302}.get(name, 200))
        if name == "moved.png":
            self.send_header("Location", "/photos/a.png")
        self.end_headers()
        self.wfile.write(b"<html>" if name == "page.png" else photo())

    def log_message(self, *_):
        pass


@pytest.fixture
def shop():
    server = Shop()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def made(tmp_path, checkpoint, shop):
    def catalogue(*names, photos_from=None):
        settings = Settings(
            width=32, height=32, steps=1, candidates=1, keep_product=True, base_model=str(checkpoint),
            photos_from=[shop.url] if photos_from is None else photos_from,
        )  # fmt: skip
        new = Catalogue.create(tmp_path / "catalogue", settings)
        rows = [Product(name, photo=shop.url + name) for name in names]
        new.update([Planned(one, Plan("a beach", rule="r")) for one in rows], [])
        candidates.request(new)
        return new

    return catalogue


def drawn(catalogue):
    base_model = catalogue.settings().base_model
    return generate(catalogue, lambda: StandaloneHost().drawing(base_model), Loras([]))


def error_of(catalogue, sku):
    return candidates.of_product(catalogue, catalogue.by_sku(sku).id)[0].error


def test_a_photo_is_fetched_once_and_kept(made, shop, tmp_path):
    catalogue = made("a.png")
    assert drawn(catalogue) == Generated(1, 0)
    product = catalogue.by_sku("a.png")
    candidates.add(catalogue, product.id)
    assert drawn(catalogue) == Generated(1, 0)
    decisions.decide(catalogue, product.id, 1, "approved")
    assert export(catalogue, tmp_path / "out", ["amazon-main"]).refused == []
    assert shop.asked == ["/photos/a.png"]
    (kept,) = (catalogue.folder / "fetched").iterdir()
    assert kept.read_bytes() == photo() and kept.name.endswith("-a.png")


def test_addresses_as_people_write_them(made, shop):
    path = fetching.reading(made(), lambda written: written)
    assert path(shop.url + "红 裙.png?v=2").read_bytes() == photo()
    assert path(shop.url + "%E7%BA%A2.png").name.endswith("-红.png")
    assert shop.asked == ["/photos/%E7%BA%A2%20%E8%A3%99.png?v=2", "/photos/%E7%BA%A2.png"]


def test_a_rules_control_image_may_have_an_address(tmp_path, shop):
    (tmp_path / "rules.yaml").write_text(f"rules:\n- control: {shop.url}a.png\n- control: poses/b.png\n")
    first, second = Rules.load(tmp_path / "rules.yaml").matches
    assert (first.control, second.control) == (f"{shop.url}a.png", str(tmp_path / "poses" / "b.png"))


def test_what_cannot_be_fetched_is_said_and_the_others_go_on(made, shop):
    catalogue = made("gone.png", "moved.png", "page.png", "a.png")
    assert drawn(catalogue) == Generated(1, 3)
    assert error_of(catalogue, "gone.png") == f"{shop.url}gone.png answers 404; correct the address in the list."
    assert "answers 302; redirects are not followed" in error_of(catalogue, "moved.png")
    assert "page.png: this photo" in error_of(catalogue, "page.png")
    assert shop.asked.count("/photos/a.png") == 1


def test_nothing_is_fetched_from_elsewhere(made, shop):
    catalogue = made("a.png", photos_from=[shop.url + "other/"])
    assert drawn(catalogue) == Generated(0, 1)
    assert "unless photos_from names what it begins with" in error_of(catalogue, "a.png")
    assert shop.asked == []


def test_a_server_that_sends_too_much_or_is_not_there(made, shop, monkeypatch):
    path = fetching.reading(made(photos_from=[shop.url, "http://127.0.0.1:9/"]), lambda written: written)
    monkeypatch.setattr(fetching, "_LARGEST", 10)
    with pytest.raises(UserError, match=r"a\.png cannot be fetched \(it is larger than"):
        path(shop.url + "a.png")
    with pytest.raises(UserError, match=r"cannot be fetched \(.*refused.*\); try again once it can"):
        path("http://127.0.0.1:9/a.png")
    assert path("/photos/b.png") == "/photos/b.png"
