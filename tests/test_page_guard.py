"""Who may request what from the tab's routes, under the very gradios that the WebUIs ship."""

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
    ("lora-trainer/report", "GET"),
    ("lora-trainer/stop", "POST"),
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

    def __init__(self, port, folder):
        self.host, self.folder = f"127.0.0.1:{port}", folder

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

    def image_path(self, name="images/00.png"):
        return f"lora-trainer/picture?path={urllib.parse.quote(str(self.folder / name))}"


def opened(kind, tmp_path_factory, login="", **flags):
    folder = tmp_path_factory.mktemp("guard")
    return serving(kind, folder, login, **flags), folder


@pytest.fixture(scope="module", params=GRADIOS)
def client(request, tmp_path_factory):
    served, folder = opened(request.param, tmp_path_factory)
    with served as port:
        yield Client(port, folder)


@pytest.fixture(scope="module", params=GRADIOS)
def locked(request, tmp_path_factory):
    """With the API's password only."""
    served, folder = opened(request.param, tmp_path_factory, api_auth="you:other, me:secret")
    with served as port:
        yield Client(port, folder)


@pytest.fixture(scope="module", params=GRADIOS)
def with_login(request, tmp_path_factory):
    served, folder = opened(request.param, tmp_path_factory, login="me:secret")
    with served as port:
        yield Client(port, folder)


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_sites_page_gets_nothing_and_changes_nothing(client, headers):
    for path, method in (*ROUTES, (client.image_path(), "GET")):
        assert client.status(path, method, headers) == 403


def test_requests_of_the_page_and_of_programs_are_served(client):
    own = [
        {}, {"Origin": f"http://{client.host}"}, {"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy"},
        {"Sec-Fetch-Site": "none"}, {"Origin": "https://shop.example", "X-Forwarded-Host": "shop.example"},
        {"Origin": "https://Shop.example", "Host": "shop.example:443"},
    ]  # fmt: skip
    for headers in own:
        for path, method in (*ROUTES, (client.image_path(), "GET")):
            assert client.status(path, method, headers) == 200, (path, headers)


def test_with_only_the_apis_password_scripts_need_it_and_no_login_box_opens(locked):
    for path, method in (*ROUTES, (locked.image_path(), "GET")):
        for headers in (
            {},
            {"Authorization": "Basic !"},
            {"Authorization": "Basic " + base64.b64encode(b"x:y").decode()},
        ):
            status, response_headers, _ = locked.request(path, method, **headers)
            assert (status, response_headers["WWW-Authenticate"]) == (401, None)
        assert locked.status(path, method, PASSWORD) == 200
        assert locked.status(path, method, PASSWORD | FOREIGN[0]) == 403


def test_with_only_the_apis_password_the_page_still_shows_the_progress(locked):
    page = locked.request("")[2].decode() + locked.request("config")[2].decode()
    key = re.search(r"data-page=\\?['\"]([\w-]+)", page).group(1)
    assert locked.status("lora-trainer/report", "GET", {"X-LoRA-Trainer-Page": key}) == 200
    assert locked.status(f"{locked.image_path()}&page={key}") == 200
    assert locked.status("lora-trainer/stop", "POST", {"X-LoRA-Trainer-Page": key}) == 401
    assert locked.status("lora-trainer/report", "GET", {"X-LoRA-Trainer-Page": key + "x"}) == 401


def test_with_a_login_its_cookie_is_needed(with_login):
    status, response_headers, _ = with_login.request("lora-trainer/report")
    assert (status, response_headers["WWW-Authenticate"]) == (401, None)
    assert all(with_login.status(path, method) == 401 for path, method in ROUTES)
    form = urllib.parse.urlencode({"username": "me", "password": "secret"}).encode()
    jar = urllib.request.HTTPCookieProcessor()
    opener = urllib.request.build_opener(jar)
    opener.open(f"http://{with_login.host}/login", form, timeout=60).close()
    cookies = {"Cookie": "; ".join(f"{one.name}={one.value}" for one in jar.cookiejar)}
    assert with_login.status("lora-trainer/report", "GET", cookies) == 200
    assert all(with_login.status(path, method, cookies) == 200 for path, method in ROUTES)
    assert with_login.status("lora-trainer/stop", "POST", {"Cookie": "access-token=guessed"}) == 401


@pytest.mark.parametrize(
    "path",
    [
        r"\\server\share\a.png",
        "//server/share/a.png",
        r"/\server/share/a.png",
        r"\\?\UNC\server\share\a.png",
        r"\\.\pipe\a.png",
    ],
)
def test_no_network_path_is_shown(client, path):
    assert client.status(f"lora-trainer/picture?path={urllib.parse.quote(path)}") == 403


@pytest.mark.parametrize("gradio", GRADIOS)
def test_where_others_reach_the_webui_no_handler_opens_what_it_may_not_read(gradio, tmp_path):
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
    refused = ("can be reached by others", "not shown from a network path", "output_name is")
    assert [output for output in report["outputs"] if not any(one in output for one in refused)] == []
    # A link inside is examined, and not followed.
    done = subprocess.run([*command, json.dumps([f"{allowed}/link"])], capture_output=True, text=True, timeout=300)
    report = json.loads(done.stdout.splitlines()[-1])
    assert [output for output in report["outputs"] if not any(one in output for one in refused)] == []


def test_what_is_no_image_or_not_there_is_not_found(client):
    (client.folder / "notes.txt").write_text("hush")
    for name in ("notes.txt", "nowhere.png"):
        assert client.status(client.image_path(name)) == 404
    assert client.status("lora-trainer/picture?path=a%00.png") == 403
