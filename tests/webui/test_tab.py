"""The tab in real WebUIs, driven in headless Chromium as its user would, and through REST beside it."""

import json
import os
import shutil
import subprocess
import threading
import time
import urllib.error
from pathlib import Path

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


@pytest.fixture
def page(server):
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        opened = browser.new_page(viewport={"width": 1400, "height": 1000})
        opened.goto(server.url, timeout=90_000)
        open_tab(opened)
        yield opened
        browser.close()


def open_tab(page) -> None:
    """Go to the trainer's tab once the page is built."""
    page.locator("#tabs button", has_text="LoRA Trainer").first.click(timeout=60_000)


def fill(page, data: Path, name: str, **changes: object) -> None:
    """Bring a small run's settings into the form by its YAML field."""
    settings = {
        "train_data_dir": data, "output_name": name, "resolution": 64, "bucket_step": 32, "lora_rank": 4, "epochs": 1,
        "learning_rate": 0.01, "target": "full", "preview_epochs": 1, "preview_steps": 2, "trigger_word": "brnd",
    }  # fmt: skip
    lines = "\n".join(f"{key}: {value}" for key, value in (settings | changes).items())
    page.get_by_text("YAML", exact=True).click()
    page.locator("#lt_yaml textarea").fill(lines)
    page.locator("#lt_import").click()
    page.get_by_text("The form holds the file's settings.").first.wait_for()
    page.get_by_text("YAML", exact=True).click()


def test_start_ends_with_a_lora_that_changes_the_image(server, page, data, tmp_path):
    fill(page, data, "brand")
    page.locator("#lt_look").click()
    page.locator(".lt_gallery figure").nth(5).wait_for()
    assert "6 images, 6 steps (6 per epoch). About" in page.locator("#lt_pictures").first.inner_text()
    page.wait_for_function("() => document.querySelector('.lt_gallery img').naturalWidth > 0")
    page.locator("#lt_start").click()
    page.locator("#lt_headline", has_text="is done").wait_for(timeout=240_000)
    lora = server.data / "models" / "Lora" / "brand.safetensors"
    assert lora.is_file()
    assert lora.with_suffix(".png").is_file()
    card = json.loads(lora.with_suffix(".json").read_text())
    assert (card["activation text"], card["sd version"]) == ("brnd", "sd" if server.kind == "neo" else "SD1")
    page.screenshot(path=tmp_path / "done.png")
    assert server.txt2img("a phone <lora:brand:0.8>") != server.txt2img("a phone")
    page.reload()
    open_tab(page)
    page.locator("#lt_headline", has_text="brand is done").wait_for()
    assert page.locator(".lt_strip img").count() == 4
    page.locator("#txt2img_lora_cards [data-name=brand] img").first.wait_for(state="attached")
    page.locator("#lt_try").click()
    page.wait_for_timeout(500)
    assert page.locator("#txt2img_prompt textarea").input_value() == "brnd <lora:brand:0.8>"


def test_its_card_appears_and_the_checkpoint_that_was_chosen_stays_so(server, page, data):
    server.post("sdapi/v1/options", sd_model_checkpoint="other.safetensors")
    before = server.txt2img("a phone")
    fill(page, data, "chosen", preview_epochs=0)
    page.locator("#lt_start").click()
    page.locator("#lt_message", has_text="on other").first.wait_for(timeout=60_000)
    page.locator("#lt_headline", has_text="is done").wait_for(timeout=240_000)
    for tab in ("txt2img", "img2img"):
        page.locator(f"#{tab}_lora_cards .card[data-name=chosen]").wait_for(state="attached", timeout=30_000)
    assert server.get("sdapi/v1/options")["sd_model_checkpoint"].startswith("other.safetensors")
    assert server.txt2img("a phone") == before
    page.reload()
    page.locator("#txt2img_lora_cards .card[data-name=chosen]").wait_for(state="attached", timeout=90_000)
    assert page.locator("#txt2img_lora_cards .card[data-name=chosen]").count() == 1
    server.post("sdapi/v1/options", sd_model_checkpoint=started_with(server.kind))


def test_a_name_used_again_serves_the_new_weights(server, page, data):
    hashes = []
    for seed in (1, 2):
        fill(page, data, "again", seed=seed, preview_epochs=0)
        since = time.time()
        page.locator("#lt_start").click()
        wait_for_end(server, since)
        hashes.append(server.txt2img("a phone <lora:again:0.8>"))
    lora = server.data / "models" / "Lora" / "again.safetensors"
    shutil.copy(lora, lora.with_name("fresh.safetensors"))
    server.post("sdapi/v1/refresh-loras")
    assert hashes[0] != hashes[1]
    assert hashes[1] == server.txt2img("a phone <lora:fresh:0.8>")


def started_with(kind: str) -> str:
    """The checkpoint that it was started with, as the WebUI calls it."""
    return f"{'tiny' if kind == 'a1111' else 'wide'}_sd1.safetensors"


def wait_for_end(server, since: float) -> None:
    """Until the run that was started after *since* is done."""
    deadline = time.monotonic() + 600
    while True:
        report = server.report()
        if report["status"] == "done" and report["ended"] > since:
            return
        assert time.monotonic() < deadline, report
        time.sleep(0.2)


def test_the_page_built_again_shows_the_run_in_progress(server, page, data):
    before = server.txt2img("a phone")
    fill(page, data, "lasting", epochs=2000, preview_epochs=0)
    page.locator("#lt_start").click()
    step = server.wait_for("training")["step"]
    page.evaluate("gradioApp().getElementById('settings_restart_gradio').click()")
    time.sleep(5)
    report = server.wait_until_back()
    assert (report["name"], report["status"]) == ("lasting", "training")
    assert report["step"] > step
    server.post("lora-trainer/stop")
    server.wait_for("stopped")
    assert server.txt2img("a phone") == before


def test_stop_and_resume_from_the_tab_end_with_the_weights_of_a_run_that_was_never_stopped(server, page, data):
    loras = []
    for name in ("uninterrupted", "resumed"):
        fill(page, data, name, epochs=40, preview_epochs=0)
        since = time.time()
        page.locator("#lt_start").click()
        if name == "resumed":
            wait_for_step(server, 5, name)
            page.locator("#lt_stop").click()
            stopped = server.wait_for("stopped")
            assert 5 <= stopped["step"] < stopped["steps"]
            page.locator("#lt_headline", has_text="Resume goes on from there").wait_for()
            page.locator("#lt_resume").click()
        wait_for_end(server, since)
        loras.append(load_file(server.data / "models" / "Lora" / f"{name}.safetensors"))
    assert loras[0].keys() == loras[1].keys()
    assert all(torch.equal(loras[0][key], loras[1][key]) for key in loras[0])


def test_what_others_may_do_meanwhile(server, page, data):
    before = server.txt2img("a phone")
    fill(page, data, "long", epochs=500, preview_epochs=0)
    page.locator("#lt_start").click()
    report = server.wait_for("training")
    wait_for_step(server, 2, "long")
    start = time.monotonic()
    server.report()
    assert time.monotonic() - start < 1
    progress = server.get("sdapi/v1/progress?skip_current_image=true")
    assert progress["state"]["job"] == "LoRA training"
    assert 1 / report["steps"] <= progress["progress"] < 0.9
    with pytest.raises(urllib.error.HTTPError):
        server.post("sdapi/v1/unload-checkpoint")
    generated: list[str] = []
    waiting = threading.Thread(target=lambda: generated.append(server.txt2img("a phone")))
    waiting.start()
    time.sleep(3)
    assert not generated, "an image was generated while the model was being trained on"
    server.post("sdapi/v1/interrupt")
    report = server.wait_for("stopped")
    assert 0 < report["step"] < report["steps"]
    waiting.join(60)
    assert generated == [before]


def wait_for_step(server, step: int, name: str) -> None:
    """Until the run called *name* has done this many steps."""
    deadline = time.monotonic() + 600
    while (report := server.report())["name"] != name or report.get("step", 0) < step:
        assert time.monotonic() < deadline, report
        time.sleep(0.1)


def test_a_request_for_an_image_during_a_run_can_be_refused(server, page, data):
    server.post("sdapi/v1/options", lora_trainer_meanwhile="is refused with a message")
    fill(page, data, "polite", epochs=2000, preview_epochs=0)
    page.locator("#lt_start").click()
    server.wait_for("training")
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.txt2img("a phone")
    assert refused.value.code == 503
    assert "A LoRA is being trained" in json.loads(refused.value.read())["detail"]
    page.locator("#tabs button", has_text="txt2img").first.click()
    page.locator("#txt2img_generate").click()
    page.locator("#txt2img_results", has_text="A LoRA is being trained").wait_for(timeout=30_000)
    assert server.get("internal/pending-tasks")["tasks"] == []
    assert server.report()["status"] == "training"
    server.post("lora-trainer/stop")
    server.wait_for("stopped")
    server.post("sdapi/v1/options", lora_trainer_meanwhile="waits until the training is over")
    assert server.txt2img("a phone")


def test_typing_and_choosing_a_checkpoint_meanwhile(server, page, data, tmp_path):
    fill(page, data, "held", epochs=2000, preview_epochs=0)
    page.locator("#lt_start").click()
    server.wait_for("training")
    page.locator("#tabs button", has_text="txt2img").first.click()
    page.locator("#txt2img_prompt textarea").fill("one two three four")
    page.locator("#txt2img_token_counter", has_text="4/75").first.wait_for(timeout=20_000)
    chooser = CHOOSER[server.kind]
    chosen = page.locator(f"{chooser} input").first
    before = chosen.input_value()
    chosen.click()
    page.locator(f"{chooser} li", has_text="other").first.click()
    page.locator(".lt_notice[role=alert]", has_text="A LoRA is being trained").wait_for(timeout=20_000)
    page.screenshot(path=tmp_path / "held.png")
    if server.kind == "a1111":
        page.wait_for_function(
            "([chooser, name]) => document.querySelector(`${chooser} input`).value === name", arg=[chooser, before]
        )
    report = server.report()
    wait_for_step(server, report["step"] + 2, "held")
    server.post("lora-trainer/stop")
    server.wait_for("stopped")
    # A1111 would load it at once, and refuses; Forge loads what is chosen when it generates the next image.
    expected = "_sd1" if server.kind == "a1111" else "other"
    assert expected in server.get("sdapi/v1/options")["sd_model_checkpoint"]
    assert server.txt2img("a phone")


def test_mistakes_are_sentences(server, page, data):
    fill(page, data / "nowhere", "lost")
    page.locator("#lt_start").click()
    page.locator("#lt_live .lt_bad", has_text="nowhere").wait_for(timeout=60_000)
    assert "Traceback" not in page.locator("#lt_live").inner_text()


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
    fill(page, pile, "tagged")
    page.get_by_text("Captions and quality", exact=True).click()
    page.locator("#lt_captioner input").fill("deepbooru")
    page.locator("#lt_captioner input").press("Enter")
    page.locator("#lt_caption").click()
    page.locator("#lt_dataset_said", has_text="2 captions written by deepbooru").first.wait_for(timeout=120_000)
    store = CaptionStore.open(pile)
    assert {store.entry(name).prompt for name in store.names} == {"cup (object)"}
    assert server.txt2img("a phone") == before


def test_a_webui_that_others_reach_reads_only_what_it_may(kind, tmp_path, data):
    inside = shop.write_images(tmp_path / "allowed" / "data", count=1) / "00.png"
    outside = data / "00.png"
    flags = ("--listen", "--lora-trainer-allowed-root", str(tmp_path / "allowed"))
    with running(kind, checkpoint(kind, tmp_path / "model", "sd1"), tmp_path / "webui", *flags) as server:
        with server.open(f"lora-trainer/picture?path={inside}") as response:
            assert response.headers["Content-Type"] == "image/png"
        for path in (outside, tmp_path / "allowed" / ".." / "model" / "x.png"):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                server.open(f"lora-trainer/picture?path={path}")
        with playwright.sync_playwright() as engine:
            browser = engine.chromium.launch(executable_path=CHROMIUM, args=QUIET)
            page = browser.new_page()
            page.goto(server.url, timeout=90_000)
            open_tab(page)
            fill(page, inside.parent, "sent")
            page.get_by_text("Captions and quality", exact=True).click()
            page.locator("#lt_captioner input").fill("endpoint")
            page.locator("#lt_captioner input").press("Enter")
            page.locator("#lt_endpoint textarea").fill("http://127.0.0.1:9/v1")
            page.locator("#lt_caption").click()
            page.locator("#lt_dataset_said", has_text="sends images to no service").first.wait_for(timeout=10_000)
            browser.close()
