"""Finished images in the systems of shops: all of them arrive, each once, whatever goes wrong on the way."""

import hashlib
import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from PIL import Image

from lora_scripts_ext.commands import catalogue_send
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.integrations import client, shopify, woocommerce
from lora_scripts_ext.integrations.akeneo import code_of
from lora_scripts_ext.integrations.client import Client
from lora_scripts_ext.integrations.journal import Journal
from lora_scripts_ext.integrations.manifest import read

from . import shop_systems

ROOT = Path(__file__).resolve().parent.parent
KEYS = {
    "PIM_CLIENT": "client", "PIM_SECRET": "secret", "PIM_USER": "user", "PIM_PASSWORD": "pass",
    "WP_USER": "editor", "WP_PASSWORD": "app pass", "WC_KEY": "ck_1", "WC_SECRET": "cs_1", "SHOPIFY_TOKEN": "shpat_1",
}  # fmt: skip
SKUS = ("A 1", "B-2", "货3")
# The request that carries an image, and the one that gives it to its product.
UPLOADS = {"akeneo": "asset-media-files", "woocommerce": "POST /wp-json/wp/v2/media", "shopify": "productCreateMedia"}
ATTACHES = {"akeneo": "PATCH", "woocommerce": "PUT", "shopify": "productCreateMedia"}
SERVICES = pytest.mark.parametrize("name", list(UPLOADS))


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for key, value in KEYS.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.02)
    monkeypatch.setattr(shopify, "_PER_SECOND", 500)
    monkeypatch.setattr(woocommerce, "_PER_SECOND", 500)


@pytest.fixture
def systems():
    with ExitStack() as stack:
        storage = stack.enter_context(shop_systems.Storage().serving())
        yield {
            "akeneo": stack.enter_context(shop_systems.AkeneoPim().serving()),
            "woocommerce": stack.enter_context(shop_systems.WordPress(*SKUS).serving()),
            "shopify": stack.enter_context(shop_systems.ShopifyShop(storage, "B-22", *SKUS).serving()),
        }


class Shop:
    """A catalogue that is exported, and a system that its images are sent to."""

    def __init__(self, folder, name, system):
        self.folder, self.name, self.system = folder, name, system
        self.entries = [self.entry(sku, position) for sku in SKUS for position in (1, 2)]
        url, storage = system.url, getattr(system, "storage", None)
        self.config = {
            "akeneo": {
                "url": url, "client_id_from": "PIM_CLIENT", "secret_from": "PIM_SECRET", "username_from": "PIM_USER",
                "password_from": "PIM_PASSWORD", "asset_family": "shots", "locales": {"en": "en_US"},
                "attributes": {"alt": "alt_text", "sku": "sku", "role": "role", "source": "ai_source"},
            },
            "woocommerce": {
                "url": url, "username_from": "WP_USER", "password_from": "WP_PASSWORD", "key_from": "WC_KEY",
                "secret_from": "WC_SECRET",
            },
            "shopify": {"url": url, "token_from": "SHOPIFY_TOKEN", "upload_hosts": [storage.host] if storage else []},
        }[name]  # fmt: skip

    def entry(self, sku, position, colour=None, size=(8, 8)):
        number = len(list(self.folder.glob("*.png")))
        path = self.folder / f"{number}.png"
        Image.new("RGB", size, colour or (number * 20, position, 7)).save(path)
        content = path.read_bytes()
        return {
            "sku": sku, "role": "main" if position == 1 else "detail", "position": position, "channel": "shop",
            "alt": {"zh": f"商品 {sku}", "en": f"Product {sku}"}, "file": path.name, "width": size[0],
            "height": size[1], "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "seed": number,
            "models": [], "prompt": "p", "negative": "", "label": {"source": "trainedAlgorithmicMedia"},
            "approval": {"by": "Ann", "at": "2026-11-26T12:00:00Z"},
        }  # fmt: skip

    @property
    def arguments(self):
        manifest, config = self.folder / "manifest.json", self.folder / "config.yaml"
        manifest.write_text(json.dumps({"images": self.entries}), encoding="utf-8")
        config.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        return [self.name, "--manifest", str(manifest), "--config", str(config)]

    def send(self, capsys, *more):
        """The exit code, the result, and what was said."""
        code = catalogue_send.main([*self.arguments, *more])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else None, said.err

    def wanted(self):
        """What each product should show, in the order of positions."""
        wanted = {}
        for entry in sorted(self.entries, key=lambda one: one["position"]):
            wanted.setdefault(entry["sku"], []).append((self.folder / entry["file"]).read_bytes())
        return wanted

    def shown(self):
        shown = self.system.shown()
        # Assets are no list: nothing but their values says in which order they come.
        return {sku: sorted(one) for sku, one in shown.items()} if self.name == "akeneo" else shown

    def uploads(self):
        return sum(UPLOADS[self.name] in call for call in self.system.calls)

    def is_right(self):
        wanted = self.wanted()
        return self.shown() == ({sku: sorted(one) for sku, one in wanted.items()} if self.name == "akeneo" else wanted)


@pytest.fixture
def shop(tmp_path, systems, name):
    return Shop(tmp_path, name, systems[name])


@SERVICES
def test_what_is_not_in_the_manifest_any_more_is_taken_out_where_that_is_wanted(shop, capsys):
    shop.send(capsys)
    gone = shop.entries.pop(1)
    code, result, said = shop.send(capsys)
    assert (code, result["withdrawn"], result["stale"]) == (0, 0, 1)
    assert "still there: 1." in said and not shop.is_right()
    for withdrawn in (1, 0):
        code, result, said = shop.send(capsys, "--withdraw")
        assert (code, result["withdrawn"], result["stale"], result["unchanged"]) == (0, withdrawn, 0, 5)
        assert shop.is_right() and "sent before" not in said
    # Approved again it is sent again, once.
    shop.entries.insert(1, gone)
    code, result, _ = shop.send(capsys)
    assert (code, result["sent"], result["stale"]) == (0, 1, 0)
    # Shopify puts what is new behind what is there.
    assert {sku: sorted(one) for sku, one in shop.shown().items()} == {
        sku: sorted(one) for sku, one in shop.wanted().items()
    }


@SERVICES
def test_what_others_have_added_or_removed_stays_so(shop, capsys):
    shop.send(capsys)
    removed = [shop.entries.pop(0), shop.entries.pop(0)]
    first = shop.system.lose((shop.folder / removed[0]["file"]).read_bytes())
    code, result, _ = shop.send(capsys, "--withdraw")
    assert first and (code, result["withdrawn"], result["failed"]) == (0, 2, 0) and shop.is_right()


@SERVICES
def test_of_other_channels_nothing_is_taken_out(shop, capsys):
    shop.send(capsys)
    shop.config["channels"] = ["elsewhere"]
    code, result, _ = shop.send(capsys, "--withdraw")
    assert (code, result["withdrawn"], result["stale"]) == (0, 0, 0) and shop.is_right()


@SERVICES
def test_all_images_arrive_and_none_is_sent_twice(shop, capsys):
    code, result, _ = shop.send(capsys)
    assert (code, result["sent"], result["unchanged"], result["failed"]) == (0, 6, 0, 0)
    assert shop.is_right() and shop.uploads() == 6 and shop.system.refused == 0
    calls = len(shop.system.calls)
    code, result, _ = shop.send(capsys)
    assert (code, result["sent"], result["unchanged"]) == (0, 0, 6)
    assert len(shop.system.calls) == calls


@SERVICES
def test_a_busy_system_is_waited_for(shop, capsys):
    shop.system.script = {UPLOADS[shop.name]: ["429"], ATTACHES[shop.name]: ["429"]}
    assert shop.send(capsys)[0] == 0
    assert shop.is_right() and not any(shop.system.script.values())


@SERVICES
def test_a_system_that_fails_is_asked_again(shop, capsys):
    shop.system.script = {UPLOADS[shop.name]: ["503", "", "502"], ATTACHES[shop.name]: ["", "503", "502"]}
    code, result, _ = shop.send(capsys)
    assert (code, result["sent"]) == (0, 6) and shop.is_right()
    if shop.name == "woocommerce":
        assert len(shop.system.library) == 6


@SERVICES
def test_a_system_that_is_down_ends_the_run_and_the_next_one_goes_on(shop, capsys):
    shop.system.script = {UPLOADS[shop.name]: ["", ""] + ["503"] * 100}
    code, result, said = shop.send(capsys)
    assert (code, result) == (2, None) and "run the same command again later" in said
    shop.system.script = {}
    code, result, _ = shop.send(capsys)
    assert code == 0 and result["sent"] + result["unchanged"] == 6 and shop.is_right()


@pytest.mark.parametrize("step", [UPLOADS, ATTACHES], ids=["upload", "attach"])
@SERVICES
def test_a_run_that_is_killed_is_gone_on_with(shop, capsys, step):
    """The system did what was asked for, but the process that asked is gone."""
    if sys.platform == "win32":
        pytest.skip("there is no SIGKILL")
    shop.system.script = {step[shop.name]: ["kill"] if shop.name == "akeneo" and step is ATTACHES else ["", "kill"]}
    code = (
        "import sys; from lora_scripts_ext.commands.catalogue_send import main; input(); sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *shop.arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env={**os.environ, **KEYS},
    )  # fmt: skip
    shop.system.victim = process.pid
    process.communicate(b"\n")
    assert process.returncode == -9
    before = shop.uploads()
    code, result, _ = shop.send(capsys)
    assert (code, result["failed"]) == (0, 0) and result["sent"] + result["unchanged"] == 6
    assert shop.is_right()
    if shop.name != "akeneo":
        assert shop.uploads() == 6
    elif step is ATTACHES:
        assert (before, shop.uploads()) == (6, 6)
    assert shop.send(capsys)[1]["unchanged"] == 6


@SERVICES
def test_a_new_image_takes_the_place_of_the_old_one(shop, capsys):
    shop.send(capsys)
    shop.entries[0] = shop.entry(SKUS[0], 1, "white")
    code, result, _ = shop.send(capsys)
    assert (code, result["sent"], result["unchanged"]) == (0, 1, 5)
    if shop.name == "shopify":
        # New media come last.
        shown = {sku: sorted(one) for sku, one in shop.shown().items()}
        assert shown == {sku: sorted(one) for sku, one in shop.wanted().items()}
    else:
        assert shop.is_right()


@SERVICES
def test_what_cannot_be_sent_is_named_and_the_others_go_on(shop, capsys):
    changed, unapproved, outside = shop.entries[0], shop.entries[1], shop.entries[2]
    (shop.folder / changed["file"]).write_bytes(b"another")
    del unapproved["approval"]
    outside["file"] = "../a.png"
    code, result, said = shop.send(capsys)
    assert (code, result["sent"], result["failed"]) == (1, 3, 3)
    assert "not done: A 1: " in said and "is not the file that was exported" in said
    assert "image 2 of the manifest (A 1) was approved by nobody; approve it first." in said
    assert "image 3 of the manifest is ../a.png, outside of the folder of the manifest" in said


@pytest.mark.parametrize("name", ["woocommerce", "shopify"])
def test_a_product_that_is_not_there(shop, capsys):
    shop.entries.append(shop.entry("B", 1))
    code, result, said = shop.send(capsys)
    assert (code, result["sent"], result["failed"]) == (1, 6, 1)
    assert "no product with this SKU; create it, then send it again" in said


@SERVICES
def test_wrong_keys(shop, capsys, monkeypatch):
    variable = {"akeneo": "PIM_SECRET", "woocommerce": "WC_SECRET", "shopify": "SHOPIFY_TOKEN"}[shop.name]
    monkeypatch.setenv(variable, "hush")
    code, _, said = shop.send(capsys)
    assert code == 2 and "check the" in said and "hush" not in said
    monkeypatch.delenv(variable)
    code, _, said = shop.send(capsys)
    assert code == 2 and f"is {variable}, which is no environment variable that holds a key" in said


@SERVICES
def test_only_the_channels_that_are_named(shop, capsys):
    shop.config["channels"] = ["other"]
    shop.entries[3]["channel"] = "other"
    assert shop.send(capsys)[1]["sent"] == 1


@pytest.mark.parametrize("name", ["akeneo"])
def test_many_assets_keep_akeneos_limits(shop, capsys):
    shop.entries = [shop.entry(f"S{number}", 1) for number in range(130)]
    code, result, _ = shop.send(capsys)
    assert (code, result["sent"], shop.system.refused) == (0, 130, 0)
    assert sum(call.startswith("PATCH") for call in shop.system.calls) == 2
    assert len(shop.system.media) == 130
    values = shop.system.assets[code_of(read(shop.folder / "manifest.json").images[0].place)]
    assert values["ai_source"] == [{"locale": None, "channel": None, "data": "trainedAlgorithmicMedia"}]
    assert {one["locale"]: one["data"] for one in values["alt_text"]} == {"zh": "商品 S0", "en_US": "Product S0"}


@pytest.mark.parametrize("name", ["akeneo"])
def test_a_token_that_ends_is_renewed_and_an_asset_that_is_refused_is_named(shop, capsys):
    shop.send(capsys)
    shop.system.tokens.clear()
    shop.entries[0] = shop.entry(SKUS[0], 1, "white")
    shop.config["attributes"]["prompt"] = "no_such"
    code, _, said = shop.send(capsys)
    assert code == 1 and "A 1: Akeneo refuses the asset (unknown ['no_such'] or media)" in said


@pytest.mark.parametrize("name", ["woocommerce"])
def test_other_images_of_a_product_stay_behind_ours(shop, capsys):
    shop.system.library[50] = {"id": 50, "slug": "theirs", "content": "", "alt_text": ""}
    shop.system.products[100]["images"] = [50]
    shop.send(capsys)
    assert shop.system.products[100]["images"] == [1, 2, 50]
    assert shop.system.library[1]["alt_text"] == "Product A 1"
    shop.entries[0] = shop.entry(SKUS[0], 1, "white")
    shop.send(capsys)
    assert shop.system.products[100]["images"] == [7, 2, 50]


@pytest.mark.parametrize("name", ["shopify"])
def test_shopifys_limits(shop, capsys):
    shop.entries = [shop.entry(SKUS[0], 1, size=(4473, 1)), *(shop.entry(SKUS[1], number) for number in range(1, 7))]
    shop.system.exhausted = 3
    code, result, said = shop.send(capsys)
    assert (code, result["sent"]) == (1, 6) and "too large for Shopify, which takes 20 MB and 4472 pixels" in said
    assert shop.system.exhausted == 0
    assert [one["alt"] for one in shop.system.media.values()] == ["Product B-2"] * 6


@pytest.mark.parametrize("name", ["shopify"])
def test_nothing_is_sent_to_a_host_that_is_not_named(shop, capsys):
    shop.config["upload_hosts"] = []
    code, _, said = shop.send(capsys)
    assert code == 2 and f"{shop.system.storage.host}: the config does not name this host" in said
    assert shop.system.storage.calls == []


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://shop.example/a", "the address must begin with https://"),
        ("https://other.example/a", "the config does not name this host"),
        ("https://shop.example:8443/a", "the config does not name this host"),
    ],
)
def test_addresses_that_are_not_used(url, sentence):
    with pytest.raises(UserError, match=sentence):
        Client(["shop.example"]).send("GET", url)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"url": "shop.example"}, "url must be an address such as https://shop.example"),
        ({"url": "https://a:b@shop.example"}, "url must be an address such as"),
        ({"uri": "x"}, "there is no key 'uri'"),
        ({}, "url is missing; write it"),
        ({"url": "https://shop.example"}, "token_from is missing"),
    ],
)
@pytest.mark.parametrize("name", ["shopify"])
def test_a_config_that_is_wrong(shop, capsys, config, sentence):
    shop.config = config
    code, _, said = shop.send(capsys)
    assert code == 2 and sentence in said


@pytest.mark.parametrize("content", ["[]", "{", '{"images": 3}'])
def test_a_manifest_that_is_none(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"name the manifest\.json"):
        read(tmp_path / "manifest.json")


@pytest.mark.parametrize("name", ["shopify"])
def test_two_runs_at_once(shop, capsys):
    arguments = shop.arguments
    with Journal(Path(arguments[2]), "shopify", shop.system.url):
        code, _, said = shop.send(capsys)
    assert code == 2 and "another run is sending these images" in said


PAGE = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
VARIABLES = {
    "AKENEO_CLIENT_ID": "client", "AKENEO_SECRET": "secret", "AKENEO_USERNAME": "user", "AKENEO_PASSWORD": "pass",
    "SHOPIFY_TOKEN": "shpat_1", "WP_USERNAME": "editor", "WP_APP_PASSWORD": "app pass", "WC_KEY": "ck_1",
    "WC_SECRET": "cs_1",
}  # fmt: skip


@SERVICES
def test_the_examples_of_the_documentation_work(shop, capsys, monkeypatch):
    example = yaml.safe_load(re.search(rf"^`{shop.name}\.yaml`:\n\n```yaml\n(.*?)^```", PAGE, re.M | re.S)[1])
    for variable, value in VARIABLES.items():
        monkeypatch.setenv(variable, value)
    if shop.name == "akeneo":
        shop.system.family, shop.system.ATTRIBUTES = example["asset_family"], tuple(example["attributes"].values())
    if shop.name == "shopify":
        example["upload_hosts"].append(shop.system.storage.host)
    shop.config = {**example, "url": shop.system.url}
    code, result, _ = shop.send(capsys)
    assert code == 0 and shop.is_right()
    shown = re.search(r"The last line of the output is JSON: ([^.]*)\.", " ".join(PAGE.split()))[1]
    assert list(result) == re.findall(r"`(\w+)`", shown)
