"""The tab in real WebUIs: the studio in its frame, driven in headless Chromium, and what jobs do with the model."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.error

import pytest
import torch
from safetensors.torch import load_file

from lora_scripts_ext.captions.store import CaptionStore
from tests import shop

from .kinds import checkpoint, marked, python, root
from .server import ON_A_CPU, running

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no chromium on this machine")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
#: the dropdown that chooses a checkpoint
CHOOSER = {"a1111": "#setting_sd_model_checkpoint", "forge": ".model_selection", "neo": ".model_selection"}
FRAME = "iframe[title='LoRA Trainer']"
SMALL = {
    "resolution": [64], "bucket_step": 32, "lora_rank": 4, "epochs": 1, "learning_rate": 0.01, "target": "full",
    "batch_size": 1, "gradient_accumulation_steps": 1, "gradient_checkpointing": False, "preview_epochs": 1,
    "preview_steps": 2,
}  # fmt: skip


class Studio:
    """The studio in its frame: all of its words that the tests need."""

    def __init__(self, page) -> None:
        self.page = page
        self.frame = page.frame_locator(FRAME)

    def button(self, name):
        return self.frame.get_by_role("button", name=name, exact=True)

    @property
    def start(self):
        return self.button("Start now")

    @property
    def stop(self):
        return self.button("Stop and save")

    @property
    def resume(self):
        return self.button("Resume")

    @property
    def try_it(self):
        return self.button("Try it in txt2img")

    @property
    def training(self):
        """What is said of a model's training."""
        return self.frame.get_by_role("region", name="Training", exact=True)

    @property
    def estimate(self):
        return self.frame.get_by_role("heading", name="Estimate").locator("..")

    def go(self, *parts):
        """Open the tab, and in it the screen with this address."""
        open_tab(self.page)
        self.frame.get_by_role("banner").wait_for(timeout=60_000)
        inner = next(frame for frame in self.page.frames if "/lora-trainer/studio/" in frame.url)
        inner.evaluate("hash => { location.hash = hash; }", f"#/{'/'.join(parts)}")


@pytest.fixture(scope="module", params=[marked(kind) for kind in ("a1111", "forge", "neo")])
def kind(request):
    """The WebUI."""
    return request.param


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shop.write_images(tmp_path_factory.mktemp("data"), side=64)


@pytest.fixture(scope="module")
def server(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("webui")
    model = checkpoint(kind, folder / "model", "sd1")
    others = folder / "data" / "models" / "Stable-diffusion"
    others.mkdir(parents=True)
    for file in model.parent.glob(f"{model.stem}.*"):
        shutil.copy(file, others / f"other{file.suffix}")
    with running(kind, model, folder / "data") as started:
        yield started


@pytest.fixture(autouse=True)
def nothing_left(request):
    """After each test its jobs are over, so that the next one's begin."""
    yield
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        for state in ("queued", "starting", "running"):
            for job in server.send("GET", f"jobs?state={state}")["items"]:
                server.send("POST", f"jobs/{job['id']}/cancel")
                server.wait_for(job["id"], "cancelled", "stopped", "done")


@pytest.fixture
def page(server):
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        opened = browser.new_page(viewport={"width": 1400, "height": 1000})
        opened.goto(server.url, timeout=90_000)
        # Built now: Forge's page chooses its checkpoint while it is being built.
        open_tab(opened)
        yield opened
        browser.close()


def open_tab(page) -> None:
    """Go to the trainer's tab once the page is built."""
    page.locator("#tabs button", has_text="LoRA Trainer").first.click(timeout=60_000)


def make_model(server, data, name: str, **changes: object) -> str:
    """A model with a small run's settings, whose images lie in ``data``."""
    values = {"name": name, "kind": "product", "folder": str(data), "trigger_word": "brnd", "config": SMALL | changes}
    return server.send("POST", "models", **values)["id"]


def config(data, name: str, **changes: object) -> dict[str, object]:
    """A small training's config."""
    own = {"train_data_dir": str(data), "output_name": name, "trigger_word": "brnd", "preview_epochs": 0}
    return SMALL | own | changes


def lora(server, name: str):
    """Where the WebUI has the LoRA of this name."""
    return server.data / "models" / "Lora" / f"{name}.safetensors"


def test_start_ends_with_a_lora_that_changes_the_image(server, page, data, tmp_path):
    studio = Studio(page)
    studio.go("model", make_model(server, data, "brand"), "train")
    studio.estimate.get_by_text("6", exact=True).first.wait_for(timeout=60_000)
    studio.start.click(timeout=60_000)
    studio.try_it.wait_for(timeout=240_000)
    file = lora(server, "brand")
    assert file.is_file() and file.with_suffix(".png").is_file()
    card = json.loads(file.with_suffix(".json").read_text())
    assert (card["activation text"], card["sd version"]) == ("brnd", "sd" if server.kind == "neo" else "SD1")
    page.screenshot(path=tmp_path / "done.png")
    assert server.txt2img("a phone <lora:brand:0.8>") != server.txt2img("a phone")
    page.reload()
    open_tab(page)
    # The studio is where it was.
    studio.try_it.wait_for(timeout=60_000)
    page.locator("#txt2img_lora_cards [data-name=brand] img").first.wait_for(state="attached")
    studio.try_it.click()
    prompt = page.locator("#txt2img_prompt textarea")
    prompt.wait_for(timeout=10_000)
    playwright.expect(prompt).to_have_value("brnd <lora:brand:0.8>")


def test_its_card_appears_and_the_checkpoint_that_was_chosen_stays_so(server, page, data):
    server.post("sdapi/v1/options", sd_model_checkpoint="other.safetensors")
    before = server.txt2img("a phone")
    job = server.train(config(data, "chosen"))
    assert "other" in server.wait_for(job, "done")["config"]["base_model"]
    for tab in ("txt2img", "img2img"):
        page.locator(f"#{tab}_lora_cards .card[data-name=chosen]").wait_for(state="attached", timeout=30_000)
    assert server.get("sdapi/v1/options")["sd_model_checkpoint"].startswith("other.safetensors")
    assert server.txt2img("a phone") == before
    page.reload()
    # The WebUI may still put its own list in the place of the one that the card was added to.
    page.wait_for_timeout(5000)
    card = page.locator("#txt2img_lora_cards .card[data-name=chosen]")
    playwright.expect(card).to_have_count(1, timeout=90_000)
    server.post("sdapi/v1/options", sd_model_checkpoint=started_with(server.kind))


def test_a_name_used_again_serves_the_new_weights(server, data):
    hashes = []
    for seed in (1, 2):
        server.wait_for(server.train(config(data, "again", seed=seed)), "done")
        hashes.append(server.txt2img("a phone <lora:again:0.8>"))
    shutil.copy(lora(server, "again"), lora(server, "fresh"))
    server.post("sdapi/v1/refresh-loras")
    assert hashes[0] != hashes[1]
    assert hashes[1] == server.txt2img("a phone <lora:fresh:0.8>")


def listed(server) -> set[str]:
    """The names of the LoRAs that the WebUI lists."""
    return {one["name"] for one in server.get("sdapi/v1/loras")}


def test_the_webui_follows_what_is_published_rolled_back_renamed_and_retired(server, data):
    model = make_model(server, data, "rose", epochs=1)
    path = f"models/{model}"
    for seed in (1, 2):
        server.send("PATCH", path, config=SMALL | {"seed": seed, "preview_epochs": 0})
        server.wait_for(server.send("POST", f"{path}/train")["id"], "done")
    hashes = []
    for number in (1, 2):
        server.send("POST", f"{path}/versions/{number}/publish", strength=0.8)
        hashes.append(server.txt2img("a phone <lora:rose:0.8>"))
    bare = server.txt2img("a phone")
    assert len({bare, *hashes}) == 3
    assert server.send("POST", f"{path}/rollback")["current"]["strength"] == 0.8
    assert server.txt2img("a phone <lora:rose:0.8>") == hashes[0]
    server.send("POST", f"{path}/rename", name="tulip")
    assert "tulip" in listed(server) and "rose" not in listed(server)
    assert server.txt2img("a phone <lora:tulip:0.8>") == hashes[0]
    server.send("POST", f"{path}/retire")
    assert "tulip" not in listed(server) and server.txt2img("a phone <lora:tulip:0.8>") == bare
    server.send("POST", f"{path}/restore")
    assert "tulip" in listed(server) and server.txt2img("a phone <lora:tulip:0.8>") == hashes[0]
    card = json.loads(lora(server, "tulip").with_suffix(".json").read_text(encoding="utf-8"))
    assert (card["preferred weight"], card["activation text"]) == (0.8, "brnd")
    assert server.txt2img("a phone") == bare


def test_a_catalogue_is_drawn_chosen_and_handed_over(server, data):
    before = server.txt2img("a phone")
    server.wait_for(server.train(config(data, "shop")), "done")
    rows = [{"sku": "A-1", "title": "red shoe"}, {"sku": "B/2", "title": "蓝色背包"}]
    rules = {"rules": [{"name": "all", "loras": [{"name": "shop", "weight": 0.8}]}]}
    size = {"width": 64, "height": 64, "steps": 2, "candidates": 2, "channels": ["social-square"]}
    catalogue = server.send("POST", "catalogues", name="summer", products=rows, rules=rules, **size)
    path = f"catalogues/{catalogue['id']}"
    drawing = server.wait_for(server.send("POST", f"{path}/generate")["job"], "done")
    assert drawing["result"] == {"generated": 4, "failed": 0}
    first, second = server.send("GET", f"{path}/products")["items"]
    urls = [one["image"] for one in (*first["candidates"], *second["candidates"])]
    assert len({server.open(url.removeprefix("/")).read() for url in urls}) == 4
    server.send("POST", f"{path}/products/{first['id']}/candidates/2/decisions", verdict="approved", who="Li")
    server.wait_for(server.send("POST", f"{path}/export")["id"], "done")
    (image,) = server.get(server.send("GET", path)["manifest"].removeprefix("/"))["images"]
    assert (image["sku"], image["approval"]["by"]) == ("A-1", "Li")
    assert [one["weight"] for one in image["loras"]] == [0.8]
    assert server.txt2img("a phone") == before


def started_with(kind: str) -> str:
    """The checkpoint that it was started with, as the WebUI calls it."""
    return f"{'tiny' if kind == 'a1111' else 'wide'}_sd1.safetensors"


def test_the_page_built_again_shows_the_run_in_progress(server, page, data):
    before = server.txt2img("a phone")
    studio = Studio(page)
    model = make_model(server, data, "lasting", epochs=2000, preview_epochs=0)
    studio.go("model", model, "train")
    studio.start.click(timeout=60_000)
    studio.stop.wait_for(timeout=60_000)
    (job,) = server.send("GET", f"jobs?model={model}")["items"]
    step = server.wait_for(job["id"], "running", step=1)["progress"]["step"]
    page.evaluate("gradioApp().getElementById('settings_restart_gradio').click()")
    time.sleep(5)
    server.wait_until_back()
    server.wait_for(job["id"], "running", step=step + 1)
    page.goto(server.url, timeout=90_000)
    studio.go("model", model, "train")
    playwright.expect(studio.training).to_contain_text(re.compile(r"Step \d+ of \d+"), timeout=60_000)
    server.stop(job["id"])
    assert server.txt2img("a phone") == before


def test_stop_and_resume_in_the_studio_end_with_the_weights_of_a_run_that_was_never_stopped(server, page, data):
    server.wait_for(server.train(config(data, "uninterrupted", epochs=15)), "done")
    # The preset of its kind must not set anything else.
    values = server.send("GET", "config/schema")["keys"]
    defaults = {one["key"]: one["default"] for one in values if one["shown"] == "folded" and not one["path"]}
    draft = defaults | SMALL | {"epochs": 15, "preview_epochs": 0}
    model = make_model(server, data, "resumed", **draft)
    studio = Studio(page)
    studio.go("model", model, "train")
    studio.start.click(timeout=60_000)
    studio.stop.wait_for(timeout=60_000)
    (job,) = server.send("GET", f"jobs?model={model}")["items"]
    server.wait_for(job["id"], "running", step=5)
    studio.stop.click()
    stopped = server.wait_for(job["id"], "stopped")["progress"]
    assert 5 <= stopped["step"] < stopped["steps"]
    studio.resume.click(timeout=30_000)
    server.wait_for(job["id"], "done")
    whole, resumed = (load_file(lora(server, name)) for name in ("uninterrupted", "resumed"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_what_others_may_do_meanwhile(server, data):
    before = server.txt2img("a phone")
    job = server.train(config(data, "long", epochs=500))
    steps = server.wait_for(job, "running", step=2)["progress"]["steps"]
    start = time.monotonic()
    server.job(job)
    assert time.monotonic() - start < 1
    progress = server.get("sdapi/v1/progress?skip_current_image=true")
    assert progress["state"]["job"] == "LoRA training"
    assert 1 / steps <= progress["progress"] < 0.9
    with pytest.raises(urllib.error.HTTPError):
        server.post("sdapi/v1/unload-checkpoint")
    generated: list[str] = []
    waiting = threading.Thread(target=lambda: generated.append(server.txt2img("a phone")))
    waiting.start()
    time.sleep(3)
    assert not generated, "an image was generated while the model was being trained on"
    server.post("sdapi/v1/interrupt")
    assert 0 < server.wait_for(job, "stopped")["progress"]["step"] < steps
    waiting.join(60)
    assert generated == [before]


def test_a_request_for_an_image_during_a_run_can_be_refused(server, page, data):
    server.post("sdapi/v1/options", lora_trainer_meanwhile="is refused with a message")
    job = server.train(config(data, "polite", epochs=2000))
    server.wait_for(job, "running", step=1)
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.txt2img("a phone")
    assert refused.value.code == 503
    assert "A LoRA is being trained" in json.loads(refused.value.read())["detail"]
    page.locator("#tabs button", has_text="txt2img").first.click()
    page.locator("#txt2img_generate").click()
    page.locator("#txt2img_results", has_text="A LoRA is being trained").wait_for(timeout=30_000)
    assert server.get("internal/pending-tasks")["tasks"] == []
    assert server.job(job)["state"] == "running"
    server.stop(job)
    server.post("sdapi/v1/options", lora_trainer_meanwhile="waits until the training is over")
    assert server.txt2img("a phone")


def test_typing_waiting_and_choosing_a_checkpoint_meanwhile(server, page, data, tmp_path):
    job = server.train(config(data, "held", epochs=2000))
    server.wait_for(job, "running", step=1)
    page.locator("#tabs button", has_text="txt2img").first.click()
    page.locator("#txt2img_prompt textarea").fill("one two three four")
    page.locator("#txt2img_token_counter", has_text="4/75").first.wait_for(timeout=20_000)
    # What waits is drawn in the end, on a processor.
    for slider, value in (("steps", "1"), ("width", "64"), ("height", "64")):
        field = page.locator(f"#txt2img_{slider} input[type=number]")
        field.fill(value)
        field.press("Tab")
    page.locator("#txt2img_generate").click()
    waits = page.locator("#tab_txt2img").get_by_role("status")
    playwright.expect(waits).to_have_text(re.compile(r"Waits: a LoRA is being trained \(held, \d+ %\)"), timeout=30_000)
    page.screenshot(path=tmp_path / "waits.png")
    chooser = CHOOSER[server.kind]
    chosen = page.locator(f"{chooser} input").first
    before = chosen.input_value()
    chosen.click()
    page.locator(f"{chooser} li", has_text="other").first.click()
    page.locator(".lora_trainer_notice[role=alert]", has_text="A LoRA is being trained").wait_for(timeout=20_000)
    page.screenshot(path=tmp_path / "held.png")
    if server.kind == "a1111":
        page.wait_for_function(
            "([chooser, name]) => document.querySelector(`${chooser} input`).value === name", arg=[chooser, before]
        )
    server.wait_for(job, "running", step=server.job(job)["progress"]["step"] + 2)
    server.stop(job)
    playwright.expect(waits).to_have_count(0, timeout=30_000)
    # A1111 would load it at once, and refuses; Forge loads what is chosen when it generates the next image.
    expected = "_sd1" if server.kind == "a1111" else "other"
    assert expected in server.get("sdapi/v1/options")["sd_model_checkpoint"]
    assert server.txt2img("a phone")


def test_mistakes_are_sentences(server, page, data, tmp_path):
    images = shutil.copytree(data, tmp_path / "images")
    studio = Studio(page)
    studio.go("model", make_model(server, images, "lost"), "train")
    playwright.expect(studio.start).to_be_enabled(timeout=60_000)
    shutil.rmtree(images)
    playwright.expect(studio.start).to_be_disabled(timeout=60_000)
    failed = server.wait_for(server.train(config(images, "nowhere")), "failed")
    assert str(images) in failed["reason"] and "Traceback" not in failed["reason"]
    studio.go("queue")
    studio.frame.get_by_text(failed["reason"]).first.wait_for(timeout=30_000)
    assert "Traceback" not in studio.frame.locator("body").inner_text()


# The weights have the real model's shapes; the last layer calls everything a cup, nothing a dog.
DEEPBOORU = """
import os, torch
from modules.deepbooru_model import DeepDanbooruModel
torch.manual_seed(0)
weights = DeepDanbooruModel().state_dict()
last = weights["n_Conv_178.weight"].zero_()
last[0], last[1], last[2] = 1, -1, 1
torch.save({**weights, "tags": ["cup_(object)", "dog", "rating:safe"]}, os.environ["WEIGHTS"])
"""


def test_the_webuis_own_tagger_captions_images(server, page, data, tmp_path):
    if server.kind == "neo":
        pytest.skip("Neo has no tagger")
    weights = server.data / "models" / "torch_deepdanbooru" / "model-resnet_custom_v3.pt"
    weights.parent.mkdir(parents=True)
    # Forge keeps some packages beside its code.
    environment = {**os.environ, "WEIGHTS": str(weights), "PYTHONPATH": str(root(server.kind) / "packages_3rdparty")}
    command = [str(python(server.kind)), "-c", DEEPBOORU, *ON_A_CPU[server.kind]]
    subprocess.run(command, cwd=root(server.kind), env=environment, check=True)
    before = server.txt2img("a phone")
    pile = tmp_path / "pile"
    pile.mkdir()
    for path in sorted(data.glob("*.png"))[:2]:
        shutil.copy(path, pile)
    model = make_model(server, pile, "tagged")
    job = server.send("POST", f"models/{model}/caption", config={"captioner": "deepbooru"})["id"]
    server.wait_for(job, "done")
    store = CaptionStore.open(pile)
    assert {store.entry(name).prompt for name in store.names} == {"cup (object)"}
    assert server.txt2img("a phone") == before


def test_a_webui_that_others_reach_reads_only_what_it_may(kind, tmp_path, data):
    inside = shop.write_images(tmp_path / "allowed" / "data", count=1)
    flags = ("--listen", "--lora-trainer-allowed-root", str(tmp_path / "allowed"))
    with running(kind, checkpoint(kind, tmp_path / "model", "sd1"), tmp_path / "webui", *flags) as server:
        model = make_model(server, inside, "sent")
        with server.open(f"lora-trainer/v1/models/{model}/images/00.png") as response:
            assert response.headers["Content-Type"] == "image/png"
        for folder in (data, tmp_path / "allowed" / ".." / "model"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                make_model(server, folder, "outside")
            assert "can be reached by others" in json.loads(refused.value.read())["detail"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            endpoint = {"captioner": "endpoint", "endpoint": "http://127.0.0.1:9/v1"}
            server.send("POST", f"models/{model}/caption", config=endpoint)
        assert "sends images to no service" in json.loads(refused.value.read())["detail"]
        with playwright.sync_playwright() as engine:
            browser = engine.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            page = browser.new_page()
            page.goto(server.url, timeout=90_000)
            studio = Studio(page)
            studio.go("model", model, "images")
            studio.frame.get_by_role("heading", name="sent").wait_for(timeout=60_000)
            browser.close()
