"""The studio in the page of a WebUI's double, in headless Chromium, under the very gradios that the WebUIs ship."""

import re
import sys
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect, sync_playwright

from .page import browser
from .page.served import GRADIOS, serving

pytestmark = [
    pytest.mark.skipif(sys.version_info >= (3, 12), reason="the WebUIs' packages are for Python 3.10 and 3.11"),
    pytest.mark.skipif(not browser.here(), reason="there is no chromium on this machine, and none to be had for it"),
]
FRAME = "iframe[title='LoRA Trainer']"
STATUS = {"notice": None, "made": {}, "running": None, "waiting": []}


@pytest.fixture(scope="module", params=GRADIOS)
def url(request, tmp_path_factory):
    """A WebUI's double with an API password, so that everything in its page must show the page's key."""
    with serving(request.param, tmp_path_factory.mktemp("browser"), api_auth="me:secret") as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def page(url):
    with shown(url) as opened:
        yield opened


@contextmanager
def shown(url):
    """The page, built; no script of it may fail."""
    with sync_playwright() as engine, browser.opened(engine, url) as page:
        mistakes = []
        page.on("pageerror", lambda error: mistakes.append(str(error)))
        expect(page.locator("#txt2img_prompt textarea").first).to_be_visible(timeout=60_000)
        yield page
        assert mistakes == []


def go_to(page, tab):
    page.locator("#tabs").get_by_role("tab", name=tab).or_(
        page.locator("#tabs > .tab-nav button", has_text=tab)
    ).first.click()


def open_studio(page, heading="Models"):
    """The frame with the studio, which the tab shows."""
    go_to(page, "LoRA Trainer")
    frame = page.frame_locator(FRAME)
    expect(frame.get_by_role("heading", name=heading)).to_be_visible(timeout=60_000)
    return frame


def inner(page):
    """The frame's own window."""
    return next(frame for frame in page.frames if "/lora-trainer/studio/" in frame.url)


def answer(page, status):
    """What the server says of what the page shows outside of the studio, from now on; ``status`` may be changed."""
    page.route("**/lora-trainer/page", lambda route: route.fulfill(json=status))


def await_polls(page, count=2):
    for _ in range(count):
        with page.expect_response("**/lora-trainer/page", timeout=20_000):
            pass


def test_the_studio_fills_its_tab_and_is_loaded_when_that_is_first_shown(page, url):
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    await_polls(page, 1)
    assert not [one for one in requested if "/studio/" in one]
    frame = open_studio(page)
    box, view = page.locator(FRAME).bounding_box(), page.viewport_size
    assert box["width"] > 0.8 * view["width"] and 0 <= view["height"] - box["y"] - box["height"] < 40
    page.set_viewport_size({"width": 390, "height": 760})
    page.wait_for_function(
        f'() => Math.abs(innerHeight - document.querySelector("{FRAME}").getBoundingClientRect().bottom) < 40'
    )
    # Written with the page's key alone, which the browser keeps for the trainer's own addresses.
    frame.get_by_role("button", name="New model").click()
    frame.get_by_label("Name", exact=True).fill("mounted")
    frame.get_by_role("button", name="Create model").click()
    expect(frame.get_by_role("heading", name="mounted")).to_be_visible(timeout=20_000)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}lora-trainer/v1/models")
    (cookie,) = [one for one in page.context.cookies() if one["name"].startswith("lora-trainer-page-")]
    assert (cookie["path"], cookie["sameSite"]) == ("/lora-trainer", "Strict")
    # Another tab and back, or a reload: the user is where he was.
    go_to(page, "txt2img")
    page.reload()
    expect(page.locator("#txt2img_prompt textarea").first).to_be_visible(timeout=60_000)
    open_studio(page, "mounted")


def test_theme_and_language_are_those_of_the_webui(page):
    page.evaluate("document.body.classList.add('dark'); opts.localization = 'zh_CN'")
    open_studio(page, "模型")
    root = inner(page).locator("html")
    expect(root).to_have_attribute("data-theme", "dark")
    page.evaluate("document.body.classList.remove('dark')")
    expect(root).to_have_attribute("data-theme", "light")


def test_try_it_fills_the_prompt_of_txt2img_once(page):
    prompt, negative = (
        page.locator("#txt2img_prompt textarea").first,
        page.locator("#txt2img_neg_prompt textarea").first,
    )
    prompt.fill("a red shoe")
    open_studio(page)
    tried = {"type": "lora-trainer/try", "prompt": "brnd <lora:brand:0.8>"}
    inner(page).evaluate("message => parent.postMessage(message, location.origin)", tried)
    expect(prompt).to_be_visible()
    expect(prompt).to_have_value("a red shoe brnd <lora:brand:0.8>")
    prompt.fill("a red shoe brnd <lora:brand:0.6>")
    more = {"negative": "blurry", "checkpoint": "first.safetensors"}
    inner(page).evaluate("message => parent.postMessage(message, location.origin)", tried | more)
    expect(negative).to_have_value("blurry")
    expect(prompt).to_have_value("a red shoe brnd <lora:brand:0.6>")
    assert page.evaluate("window.selected") is None
    inner(page).evaluate(
        "message => parent.postMessage(message, location.origin)", tried | {"checkpoint": "other.safetensors"}
    )
    page.wait_for_function("() => window.selected === 'other.safetensors'")


def test_messages_of_others_are_not_heard(page):
    prompt = page.locator("#txt2img_prompt textarea").first
    open_studio(page)
    message = '{type: "lora-trainer/try", prompt: "<lora:evil:1>"}'
    page.evaluate(f"postMessage({message}, location.origin)")
    # A frame of another origin, and then the studio's frame after it was led to another one.
    foreign = f"<script>parent.postMessage({message}, '*'); parent.postMessage('sent', '*')</script>"
    for target in ("document.body.appendChild(document.createElement('iframe'))", f'document.querySelector("{FRAME}")'):
        page.evaluate(
            f"""html => new Promise((sent) => {{
                addEventListener("message", (event) => event.data === "sent" && sent());
                const frame = {target};
                frame.sandbox = "allow-scripts";
                frame.srcdoc = html;
            }})""",
            foreign,
        )
    inner_silent = (
        "for (const data of [null, 'text', {type: 'other'}, {type: 'lora-trainer/try'}]) postMessage(data, '*')"
    )
    page.evaluate(inner_silent)
    page.wait_for_timeout(300)
    expect(prompt).to_have_value("")
    expect(prompt).not_to_be_visible()


def test_a_notice_is_shown_once_and_as_text_on_the_pages_that_are_open(page):
    status = dict(STATUS)
    answer(page, status)
    await_polls(page)
    status["notice"] = {"text": "<b>Later</b>", "time": 5.0}
    notice = page.get_by_role("alert").and_(page.locator(".lora_trainer_notice"))
    expect(notice).to_contain_text("<b>Later</b>", timeout=20_000)
    notice.get_by_role("button", name="Close").click()
    await_polls(page)
    expect(notice).to_have_count(0)
    status["notice"] = {"text": "Refused", "time": 6.0}
    expect(notice).to_contain_text("Refused", timeout=20_000)
    page.reload()
    expect(page.locator("#txt2img_prompt textarea").first).to_be_visible(timeout=60_000)
    await_polls(page)
    expect(notice).to_have_count(0)


def test_the_card_of_a_new_lora_appears_in_both_lists_and_replaces_an_older_one(page):
    status = {**STATUS, "made": {"brand": 5.0}}
    answer(page, status)
    for tab in ("txt2img", "img2img"):
        card = page.locator(f"#{tab}_lora_cards .card[data-name=brand]")
        expect(card).to_have_text(f"lora in {tab}", timeout=20_000)
        expect(page.locator(f"#{tab}_lora_cards .nocards")).to_have_count(0)
    page.evaluate("document.querySelector('#txt2img_lora_cards .card').textContent = 'old'")
    await_polls(page)
    expect(page.locator("#txt2img_lora_cards .card")).to_have_text("old")
    status["made"] = {"brand": 6.0}
    expect(page.locator("#txt2img_lora_cards .card")).to_have_text("lora in txt2img", timeout=20_000)


def test_a_request_that_waits_says_what_for_in_the_webuis_language(page):
    status = {**STATUS, "running": {"kind": "train", "name": "brand", "share": 0.431}, "waiting": ["task(other)"]}
    answer(page, status)
    page.evaluate("localStorage.setItem('txt2img_task_id', 'task(own)')")
    line = page.get_by_role("status")
    await_polls(page)
    # Someone else's request.
    expect(line).to_have_count(0)
    status["waiting"] = ["task(other)", "task(own)"]
    expect(line).to_have_text("Waits: a LoRA is being trained (brand, 43 %)", timeout=20_000)
    beside, button = line.bounding_box(), page.locator("#txt2img_generate").bounding_box()
    assert 0 <= beside["y"] - button["y"] - button["height"] < 60
    status["running"] = {"kind": "review", "name": "sheet", "share": None}
    expect(line).to_have_text("Waits: the LoRA Trainer is using the model (sheet)", timeout=20_000)
    page.evaluate("opts.localization = 'zh_CN'")
    expect(line).to_have_text("等待中：LoRA Trainer 正在使用模型（sheet）", timeout=20_000)
    status["waiting"] = []
    expect(line).to_have_count(0, timeout=20_000)


class _Proxy(BaseHTTPRequestHandler):
    """Serves another server's pages below a path of its own, as a shop's own proxy does."""

    port = 0

    def do_GET(self):
        if not self.path.startswith("/lab/"):
            self.send_error(404)
            return
        sent = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{self.path[4:]}", headers=sent)
        with urllib.request.urlopen(request) as response:
            body = response.read()
            self.send_response(response.status)
            for name in ("Content-Type", "Content-Security-Policy"):
                if response.headers[name]:
                    self.send_header(name, response.headers[name])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize("gradio", GRADIOS)
def test_it_works_below_a_path_of_a_proxy(gradio, tmp_path):
    with serving(gradio, tmp_path, api_auth="me:secret", subpath="/lab") as port:
        proxy = ThreadingHTTPServer(("127.0.0.1", 0), type("Proxy", (_Proxy,), {"port": port}))
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            with shown(f"http://127.0.0.1:{proxy.server_port}/lab/") as page:
                open_studio(page)
                assert re.search(r"/lab/lora-trainer/studio/", inner(page).url)
                expect(inner(page).get_by_role("button", name="New model")).to_be_visible(timeout=20_000)
        finally:
            proxy.shutdown()
