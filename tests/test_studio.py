"""The studio in Chromium, over the API of a server of its own."""

import json
import os
import re
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect, sync_playwright

from . import models, shop
from .page import browser
from .test_serve import ROOT, server

pytestmark = pytest.mark.skipif(not browser.here(), reason="there is no chromium here, and none to be had for it")
FOLDER = ROOT / "lora_scripts_ext" / "studio"
OWN = [path for path in FOLDER.rglob("*.js") if "vendor" not in path.parts]
#: a module that is loaded when it is opened, and the groups of words that are loaded with it
LAZY = re.compile(r'import\("([\w./]+)"\)\.then\(\(\{\w+\}\) => \w+\)((?:, "\w+")*)\)')
WORD = re.compile(r"""^    "([\w.]+)": ["'](.*)["'],$""", re.MULTILINE)
HOSTILE = '<img src=x onerror="window.hacked=1">'


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server that runs no jobs, its client, and a folder with images."""
    folder = tmp_path_factory.mktemp("studio")
    images = shop.write_images(folder / "images", side=64)
    checkpoint = models.write_checkpoint(folder / "tiny.safetensors", "sd1")
    with server(folder / "data", "--base-model", str(checkpoint), "--no-worker") as (_, client):
        yield client, images


@contextmanager
def studio(client):
    """The page of the server, on which nothing must fail."""
    wrong = []
    with sync_playwright() as engine, browser.opened(engine, f"http://127.0.0.1:{client.port}/?lang=en") as shown:
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        expect(shown.get_by_role("heading", name="Models")).to_be_visible(timeout=60_000)
        yield shown
        assert wrong == []
        assert shown.evaluate("window.hacked") is None


@pytest.fixture
def page(served):
    with studio(served[0]) as shown:
        yield shown


def open_at(page, *parts):
    base = page.url.partition("#")[0]
    page.goto(f"{base}#/{'/'.join(parts)}")


def make(client, name, images=None, **values):
    """A model by the API."""
    answer = client.post("models", {"name": name, "folder": str(images or ""), **values})
    assert answer.status == 201, answer.json
    return answer.json["id"]


def step(page, name):
    """Go to a step of the model; the link says when it is done."""
    page.get_by_role("navigation").get_by_role("link", name=re.compile(f"^{name}")).click()


def test_three_questions_make_a_model_whose_images_captions_and_settings_are_kept(page, served):
    client, images = served
    page.get_by_role("button", name="New model").click()
    page.get_by_label("A car").check()
    page.get_by_label("Name", exact=True).fill("han")
    page.get_by_label("Name", exact=True).blur()
    expect(page.get_by_label("Trigger word", exact=True)).not_to_have_value("", timeout=60_000)
    page.get_by_role("button", name="Create model").click()
    expect(page.get_by_role("heading", name="han")).to_be_visible(timeout=20_000)
    files = [*sorted(map(str, images.glob("*.png"))), str(images / "metadata.csv")]
    page.get_by_label("Choose files").set_input_files(files)
    expect(page.locator(".tile")).to_have_count(6, timeout=60_000)
    page.get_by_role("button", name="Exclude: 03.png").click()
    expect(page.get_by_role("button", name="Include again: 03.png")).to_be_visible(timeout=20_000)
    expect(page.get_by_role("button", name="excluded 1")).to_be_visible()
    step(page, "Captions")
    expect(page.locator(".caption")).to_have_count(5, timeout=20_000)
    caption = page.get_by_label("Caption of 00.png")
    caption.fill(f"a phone, {HOSTILE}")
    caption.press("Control+Enter")
    expect(page.get_by_label("Caption of 01.png")).to_be_focused()
    expect(page.get_by_role("button", name=re.compile("^<img src=x"))).to_be_visible(timeout=20_000)
    step(page, "Train")
    page.get_by_text("All settings").click()
    page.get_by_label("LoRA rank (size)").fill("0")
    page.get_by_label("LoRA rank (size)").blur()
    expect(page.get_by_text("This must lie between 1 and 1024.")).to_be_visible()
    page.get_by_label("LoRA rank (size)").fill("5")
    page.get_by_label("LoRA rank (size)").blur()
    expect(page.get_by_text("1 changed")).to_be_visible(timeout=20_000)
    page.reload()
    expect(page.get_by_text("1 changed")).to_be_visible(timeout=60_000)
    (model,) = client.get("models?search=han").json["items"]
    assert (model["kind"], model["config"]) == ("car", {"lora_rank": 5})


def test_what_two_browsers_change_is_kept_and_seen_in_both(page, served):
    client, images = served
    model = make(client, "shared", images)
    open_at(page, "model", model, "train")
    page.get_by_text("All settings").click()
    rank = page.get_by_label("LoRA rank (size)")
    expect(rank).to_be_visible(timeout=20_000)
    # The other browser, right before this one has seen it.
    client.send("PATCH", f"models/{model}", {"config": {"epochs": 7}})
    rank.fill("6")
    rank.blur()
    expect(page.get_by_text("2 changed")).to_be_visible(timeout=20_000)
    assert client.get(f"models/{model}").json["config"] == {"epochs": 7, "lora_rank": 6}
    client.send("PATCH", f"models/{model}", {"name": "renamed"})
    expect(page.get_by_role("heading", name="renamed")).to_be_visible(timeout=20_000)
    client.send("DELETE", f"models/{model}")
    expect(page.get_by_role("alert")).to_contain_text("There is no model", timeout=20_000)


def test_a_name_that_cannot_be_used_is_said_under_its_field(page):
    page.get_by_role("button", name="New model").click()
    page.get_by_label("Name", exact=True).fill("con")
    page.get_by_role("button", name="Create model").click()
    error = page.locator(".field.wrong", has_text="Name").get_by_role("alert")
    expect(error).to_contain_text("con", timeout=20_000)
    expect(page.get_by_label("Name", exact=True)).to_have_attribute("aria-invalid", "true")


def test_a_folder_that_is_none_is_said_under_its_field_and_one_pasted_with_quotes_is_found(page, served):
    _, images = served
    page.get_by_role("button", name="New model").click()
    page.get_by_label("Name", exact=True).fill("quoted")
    folder = page.get_by_label("Folder on the server (optional)")
    folder.fill("/no/such/folder")
    page.get_by_role("button", name="Create model").click()
    expect(page.locator(".field.wrong", has_text="Folder").get_by_role("alert")).to_contain_text(
        "no folder", timeout=20_000
    )
    folder.fill(f' "{images}" ')
    page.get_by_role("button", name="Create model").click()
    expect(page.locator(".tile")).to_have_count(6, timeout=60_000)


def test_captions_are_changed_by_the_dozen_after_a_look_and_taken_back(page, served, tmp_path):
    client, _ = served
    images = shop.write_images(tmp_path / "images", side=64)
    model = make(client, "captions", images)
    open_at(page, "model", model, "captions")
    first = page.get_by_label("Caption of 00.png")
    expect(first).to_be_visible(timeout=60_000)
    before = first.input_value()
    page.get_by_label("Find", exact=True).fill(before.split()[0])
    page.get_by_label("Replace with").fill(HOSTILE)
    page.get_by_role("button", name="Preview", exact=True).click()
    change = page.get_by_role("button", name=re.compile(r"^Change \d"))
    expect(change).to_be_visible(timeout=20_000)
    expect(first).to_have_value(before)
    change.click()
    expect(first).to_have_value(re.compile("^<img src=x"), timeout=20_000)
    page.get_by_role("button", name=re.compile("^Undo")).click()
    expect(first).to_have_value(before, timeout=20_000)


def test_file_names_stay_texts_and_one_image_is_one_image(page, served, tmp_path):
    client, images = served
    folder = tmp_path / "images"
    folder.mkdir()
    name = '<img src=x onerror=alert(1)> & "1".png' if os.name != "nt" else "& '1'.png"
    (folder / name).write_bytes(next(images.glob("*.png")).read_bytes())
    model = make(client, "hostile", folder)
    open_at(page, "model", model)
    expect(page.get_by_role("button", name=f"Open: {name}")).to_be_visible(timeout=60_000)
    expect(page.locator(".tile .line").first).to_have_text(name)
    expect(page.get_by_text("One product · 1 image", exact=True)).to_be_visible()
    page.get_by_role("button", name=f"Exclude: {name}").click()
    expect(page.get_by_role("button", name="excluded 1")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name=f"Open: {name}").click()
    expect(page.get_by_role("dialog").get_by_role("heading", name=name)).to_be_visible()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.tile img, dialog img')].every((one) => one.naturalWidth > 0)",
        timeout=20_000,
    )


@pytest.mark.parametrize("name", ["con", "x.safetensors", "n" * 300, "a/b", "..", " "])
def test_names_that_no_file_can_have_are_refused(served, name):
    client, _ = served
    answer = client.post("models", {"name": name})
    assert (answer.status, answer.json["field"]) == (422, "name")


def test_an_image_is_looked_at_turned_cropped_and_excluded_and_its_file_stays(page, served, tmp_path):
    client, _ = served
    images = shop.write_images(tmp_path / "images", side=64)
    before = {path.name: path.read_bytes() for path in images.glob("*.png")}
    model = make(client, "edited", images, config={"resolution": [64]})
    open_at(page, "model", model)
    page.get_by_role("button", name="Open: 00.png").click(timeout=60_000)
    dialog = page.get_by_role("dialog", name="00.png")
    dialog.get_by_role("button", name="Rotate right").click()
    expect(dialog.get_by_role("button", name="Undo rotation and crop")).to_be_visible(timeout=20_000)
    dialog.get_by_role("button", name="Crop…").click()
    dialog.get_by_label("right").fill("50")
    dialog.get_by_label("right").blur()
    dialog.get_by_role("button", name="Crop", exact=True).click()
    expect(dialog.get_by_text("32 × 64")).to_be_visible(timeout=20_000)
    expect(dialog.get_by_role("button", name="Crop…")).to_be_visible()
    (item,) = client.get(f"models/{model}/images?limit=1").json["items"]
    assert (item["rotate"], item["crop"], item["width"], item["height"]) == (90, [0, 0, 0.5, 1], 32, 64)
    page.keyboard.press("ArrowRight")
    dialog = page.get_by_role("dialog", name="01.png")
    expect(dialog).to_be_visible()
    page.keyboard.press("x")
    expect(dialog.get_by_role("button", name="Include again")).to_be_visible(timeout=20_000)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert {path.name: path.read_bytes() for path in images.glob("*.png")} == before


def test_the_settings_go_out_and_in_as_yaml(page, served):
    client, images = served
    model = make(client, "yaml", images, config={"epochs": 3})
    open_at(page, "model", model, "train")
    page.get_by_text("All settings").click(timeout=60_000)
    page.get_by_role("button", name="YAML").click()
    text = page.get_by_label("YAML", exact=True).and_(page.locator("textarea"))
    expect(text).to_have_value(re.compile("epochs: 3"), timeout=20_000)
    text.fill("epochs: many")
    page.get_by_role("button", name="Use these settings").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("epochs", timeout=20_000)
    assert client.get(f"models/{model}").json["config"] == {"epochs": 3}
    text.fill("epochs: 5\nlora_rank: 4\n")
    page.get_by_role("button", name="Use these settings").click()
    expect(page.get_by_text("The model has these settings now.")).to_be_visible(timeout=20_000)
    config = client.get(f"models/{model}").json["config"]
    assert (config["epochs"], config["lora_rank"]) == (5, 4)


def test_the_loss_on_held_out_images_the_suggestion_and_warnings_are_shown(page, served):
    client, images = served
    model = make(client, "measured", images)
    job = client.post(f"models/{model}/train").json["id"]
    warning = f"From epoch 3 on it copies your images. {HOSTILE}"

    def measured(route):
        report = route.fetch()
        route.fulfill(
            response=report,
            json={
                "curve": [[step, 0.2 - step / 1000] for step in range(1, 31)],
                "held_out": [
                    {"step": 10 * epoch, "epoch": epoch, "loss": loss, "base": 0.25}
                    for epoch, loss in enumerate([0.25, 0.2, 0.125, 0.15])
                ],
                "checkpoints": [{"step": 20, "path": "/runs/1/measured-000002.safetensors"}],
                "suggested": {"checkpoint": "measured-000002.safetensors", "strength": 0.8, "reason": "Lowest."},
                "ended_early": {"step": 30, "best": 20, "epoch": 2},
                "warnings": [warning], "previews": [], "skipped": [],
            },
        )  # fmt: skip

    page.route(f"**/jobs/{job}/report", measured)
    open_at(page, "model", model, "train")
    card = page.get_by_label("Training", exact=True)
    expect(card.locator(".notice")).to_contain_text(warning, timeout=20_000)
    expect(card.locator(".suggestion")).to_contain_text("Epoch 2, at strength 0.8")
    expect(card.locator(".suggestion")).to_contain_text("Lowest.")
    expect(card.get_by_text("It ended early, at step 30")).to_contain_text("epoch 2")
    expect(card.locator("canvas")).to_have_count(2)
    held_out = card.get_by_role("img", name=re.compile("kept aside"))
    expect(held_out).to_have_accessible_name(re.compile("with the LoRA 0.1500, without it 0.2500"))
    card.get_by_role("link", name="Look at its images beside those of the others").click()
    expect(page.get_by_text("There is nothing to compare yet")).to_be_visible(timeout=20_000)
    client.post(f"jobs/{job}/cancel")
    client.send("DELETE", f"jobs/{job}")


def test_the_queue_is_ordered_scheduled_paused_and_cleared_and_no_name_becomes_html(page, served):
    client, images = served
    names = ["first", "second", HOSTILE.replace("/", "")]
    for name in names:
        config = {"train_data_dir": str(images), "output_name": f"run{names.index(name)}"}
        assert client.post("jobs", {"config": config, "name": name}).status == 201
    open_at(page, "queue")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(3, timeout=20_000)
    page.get_by_role("button", name="Move up: second").click()
    expect(rows.first).to_contain_text("second", timeout=20_000)
    rows.nth(2).drag_to(rows.first)
    expect(rows.first).to_contain_text("<img src=x", timeout=20_000)
    page.get_by_role("button", name="Schedule…: first").click()
    page.get_by_label("Only at a time of day").check()
    page.get_by_label("From – to").fill("25:00")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("25:00", timeout=20_000)
    page.get_by_label("From – to").fill("23:00-05:00")
    page.get_by_role("button", name="Save").click()
    expect(rows.nth(2)).to_contain_text("23:00-05:00", timeout=20_000)
    page.get_by_role("button", name="Pause after this one").click()
    expect(page.get_by_role("status")).to_have_text("The queue is paused.", timeout=20_000)
    page.get_by_role("button", name="Remove: second").click()
    expect(page.get_by_role("button", name="Forget: second")).to_be_visible(timeout=20_000)
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("heading", name="队列")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="队列")).to_be_visible(timeout=60_000)


def test_a_server_that_does_not_answer_is_shown_as_such(page):
    page.context.set_offline(True)
    expect(page.get_by_role("alert")).to_contain_text("does not answer", timeout=20_000)
    page.context.set_offline(False)
    expect(page.get_by_role("alert")).to_have_count(0, timeout=20_000)


def test_thousands_of_images_are_a_few_dozen_elements(page, served, tmp_path):
    client, _ = served
    folder = tmp_path / "many"
    folder.mkdir()
    one = next(served[1].glob("*.png")).read_bytes()
    for index in range(1200):
        (folder / f"{index:04}.png").write_bytes(one)
    open_at(page, "model", make(client, "many", folder))
    expect(page.get_by_role("button", name="all 1200")).to_be_visible(timeout=60_000)
    tiles = page.locator(".tile")
    assert tiles.count() < 150
    # The rest is fetched while the first hundred are shown.
    page.wait_for_function(
        "() => { scrollTo(0, document.body.scrollHeight);"
        " return document.querySelector('[aria-label=\"Open: 1199.png\"]'); }",
        timeout=60_000,
    )
    assert tiles.count() < 150


def test_nothing_is_loaded_from_elsewhere(served):
    client, _ = served
    answer = client.send("GET", "/lora-trainer/studio/")
    assert answer.status == 200 and "default-src 'self'" in answer.headers["content-security-policy"]
    assert client.send("GET", "/lora-trainer/studio/../api/app.py").status == 404
    assert not [path for path in OWN if re.search(r"https?://", path.read_text(encoding="utf-8"))]


def test_what_the_first_page_loads_is_small_and_the_whole_is_not_large():
    first = [path for path in modules("app.js") if "vendor" not in path.parts]
    words = {language: list((FOLDER / "words" / language).glob("*.js")) for language in ("en", "zh")}
    for language in words:
        assert size([*first, FOLDER / "words" / language / "page.js"]) < 40_000
        others = {path for known in words for path in words[known] if known != language}
        assert size(set(OWN) - others) < 360_000


def test_the_modules_of_the_first_page_are_fetched_at_once_and_no_others():
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    named = re.findall(r'<link rel="modulepreload" href="([\w./-]+)">', page)
    assert sorted(named) == sorted(path.relative_to(FOLDER).as_posix() for path in modules("app.js"))


def test_every_word_is_there_in_both_languages_where_it_is_needed():
    known = {language: words(language) for language in ("en", "zh")}
    assert {group: set(texts) for group, texts in known["en"].items()} == {
        group: set(texts) for group, texts in known["zh"].items()
    }
    for texts in known["en"].values():
        for key, text in texts.items():
            other = next(group[key] for group in known["zh"].values() if key in group)
            # What is before a "|" is for one.
            assert values(text) == values(other), key
    entries = {"app.js": {"page"}}
    for path in OWN:
        for module, groups in LAZY.findall(path.read_text(encoding="utf-8")):
            name = (path.parent / module).resolve().relative_to(FOLDER).as_posix()
            entries[name] = {"page", *re.findall(r'"(\w+)"', groups)}
    assert len(entries) > 8
    for entry, groups in entries.items():
        there = {key for group in groups for key in known["en"][group]}
        used = {
            key for path in modules(entry) for key in re.findall(r'\bt\("([\w.]+)"', path.read_text(encoding="utf-8"))
        }
        assert used - there == set(), entry


def modules(name):
    """The modules that come with one of the studio's, by its imports and theirs."""
    table = json.loads(
        re.search(r'"imports": ({.*?})', (FOLDER / "index.html").read_text(encoding="utf-8"), re.DOTALL)[1]
    )
    found, ahead = set(), [FOLDER / name]
    while ahead:
        path = ahead.pop()
        if path in found:
            continue
        found.add(path)
        for wanted in re.findall(r'\bimport\s*[^;"()]*?from\s*"([^"]+)"', path.read_text(encoding="utf-8")):
            ahead.append((FOLDER / table[wanted] if wanted in table else path.parent / wanted).resolve())
    return found


def size(paths):
    return sum(path.stat().st_size for path in paths)


def words(language):
    """The studio's words by group and key."""
    return {
        path.stem: dict(WORD.findall(path.read_text(encoding="utf-8")))
        for path in (FOLDER / "words" / language).glob("*.js")
    }


def values(text):
    """What a sentence says of its values: their names."""
    return set(re.findall(r"{(\w+)}", text))


def test_vendored_files_are_the_ones_that_are_named():
    import hashlib

    table = (FOLDER / "vendor" / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w.-]+)` \|.*`([0-9a-f]{64})` \|$", table, re.MULTILINE))
    files = {path.name for path in (FOLDER / "vendor").iterdir() if path.suffix in (".js", ".css")}
    assert set(rows) == files
    for name, digest in rows.items():
        assert hashlib.sha256((FOLDER / "vendor" / name).read_bytes()).hexdigest() == digest, name
