"""Who may request what from the trainer's routes, under the very gradios that the WebUIs ship."""

import base64
import json
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import pytest

from .page.served import GRADIOS, HERE, python_with, serving

pytestmark = pytest.mark.skipif(sys.version_info >= (3, 12), reason="the WebUIs' packages are for Python 3.10 and 3.11")
PASSWORD = {"Authorization": "Basic " + base64.b64encode(b"me:secret").decode()}
#: of the page and of the API, reading and changing
ROUTES = [
    ("lora-trainer/page", "GET"),
    ("lora-trainer/v1/jobs", "GET"),
    ("lora-trainer/v1/queue/continue", "POST"),
]
FOREIGN = [
    {"Origin": "http://elsewhere.example"},
    {"Origin": "https://127.0.0.1:1"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
]


class Client:
    """Requests to a server: status, headers and body."""

    def __init__(self, port):
        self.host = f"127.0.0.1:{port}"

    def request(self, path, method="GET", **headers):
        request = urllib.request.Request(f"http://{self.host}/{path}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def status(self, path, method="GET", headers=None):
        return self.request(path, method, **(headers or {}))[0]


@pytest.fixture(scope="module", params=GRADIOS)
def client(request, tmp_path_factory):
    with serving(request.param, tmp_path_factory.mktemp("guard")) as port:
        yield Client(port)


@pytest.fixture(scope="module", params=GRADIOS)
def locked(request, tmp_path_factory):
    """With the API's password only."""
    with serving(request.param, tmp_path_factory.mktemp("guard"), api_auth="you:other, me:secret") as port:
        yield Client(port)


@pytest.fixture(scope="module", params=GRADIOS)
def with_login(request, tmp_path_factory):
    with serving(request.param, tmp_path_factory.mktemp("guard"), login="me:secret") as port:
        yield Client(port)


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_sites_page_gets_nothing_and_changes_nothing(client, headers):
    for path, method in ROUTES:
        assert client.status(path, method, headers) == 403


def test_requests_of_the_page_and_of_programs_are_served(client):
    own = [
        {}, {"Origin": f"http://{client.host}"}, {"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy"},
        {"Sec-Fetch-Site": "none"}, {"Origin": "https://shop.example", "X-Forwarded-Host": "shop.example"},
        {"Origin": "https://Shop.example", "Host": "shop.example:443"},
    ]  # fmt: skip
    for headers in own:
        for path, method in ROUTES:
            assert client.status(path, method, headers) == 200, (path, headers)


def test_with_only_the_apis_password_scripts_need_it_and_no_login_box_opens(locked):
    for path, method in ROUTES:
        for headers in (
            {},
            {"Authorization": "Basic !"},
            {"Authorization": "Basic " + base64.b64encode(b"x:y").decode()},
        ):
            status, response_headers, _ = locked.request(path, method, **headers)
            assert (status, response_headers["WWW-Authenticate"]) == (401, None)
        assert locked.status(path, method, PASSWORD) == 200
        assert locked.status(path, method, PASSWORD | FOREIGN[0]) == 403


def test_with_only_the_apis_password_the_page_may_do_everything_with_its_key_and_no_other_sites_page(locked):
    page = locked.request("")[2].decode() + locked.request("config")[2].decode()
    key = re.search(r"data-page=\\?['\"]([\w-]+)", page).group(1)
    for path, method in ROUTES:
        carriers = [
            (path, {"X-LoRA-Trainer-Page": key}),
            (f"{path}?page={key}", {}),
            # The browser sends the cookies of every server of this machine.
            (path, {"Cookie": f"lora-trainer-page-1=another; lora-trainer-page-7860={key}"}),
        ]
        for address, headers in carriers:
            assert locked.status(address, method, headers) == 200
            assert all(locked.status(address, method, headers | foreign) == 403 for foreign in FOREIGN)
        wrong = [{"X-LoRA-Trainer-Page": key + "x"}, {"Cookie": f"page={key}"}, {"Cookie": "lora-trainer-page-7860="}]
        assert [locked.status(path, method, headers) for headers in wrong] == [401] * 3


def test_the_files_of_the_studio_hold_no_secret_and_only_this_sites_pages_may_frame_them(locked):
    status, headers, _ = locked.request("lora-trainer/studio/")
    assert status == 200 and "frame-ancestors 'self'" in headers["Content-Security-Policy"]


def test_with_a_login_its_cookie_is_needed(with_login):
    status, response_headers, _ = with_login.request("lora-trainer/page")
    assert (status, response_headers["WWW-Authenticate"]) == (401, None)
    assert all(with_login.status(path, method) == 401 for path, method in ROUTES)
    form = urllib.parse.urlencode({"username": "me", "password": "secret"}).encode()
    jar = urllib.request.HTTPCookieProcessor()
    opener = urllib.request.build_opener(jar)
    opener.open(f"http://{with_login.host}/login", form, timeout=60).close()
    cookies = {"Cookie": "; ".join(f"{one.name}={one.value}" for one in jar.cookiejar)}
    assert all(with_login.status(path, method, cookies) == 200 for path, method in ROUTES)
    page = with_login.request("config", **cookies)[2].decode()
    key = re.search(r"data-page=\\?['\"]([\w-]+)", page).group(1)
    # Someone else's login has ended; the page's key does not outlive it.
    for wrong in ({"Cookie": "access-token=guessed"}, {"Cookie": f"lora-trainer-page-7860={key}"}):
        assert [with_login.status(path, method, wrong) for path, method in ROUTES] == [401] * len(ROUTES)


@pytest.mark.parametrize("gradio", GRADIOS)
def test_where_others_reach_the_webui_no_route_opens_what_it_may_not_read(gradio, tmp_path):
    allowed, outside = tmp_path / "allowed", tmp_path / "outside"
    for folder in (allowed, outside / "a.png"):
        folder.mkdir(parents=True)
    (allowed / "link").symlink_to(outside)
    paths = [r"\\server\share", "//server/share", r"\\?\UNC\server\share", str(outside), f"{allowed}/../outside"]
    flags = {"listen": True, "lora_trainer_allowed_root": [str(allowed)]}
    arguments = ["model.safetensors", str(tmp_path / "data"), "", json.dumps(flags)]
    command = [str(python_with(gradio)), str(HERE / "touched.py"), *arguments]
    done = subprocess.run([*command, json.dumps(paths)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert [path for path in report["opened"] if "server" in path.split("site-packages")[-1] or "outside" in path] == []
    assert len(report["outputs"]) >= 100
    refused = "can be reached by others"
    assert [output for output in report["outputs"] if refused not in output] == []
    # A link inside is examined, and not followed.
    done = subprocess.run([*command, json.dumps([f"{allowed}/link"])], capture_output=True, text=True, timeout=300)
    report = json.loads(done.stdout.splitlines()[-1])
    assert [output for output in report["outputs"] if refused not in output] == []
