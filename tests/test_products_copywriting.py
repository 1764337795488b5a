"""Copy for products from a service: what is sent, what is taken of its answer, what is wrong with it."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.products.copywriting import Copy, Copywriter
from lora_scripts_ext.products.product import Product

PRODUCT = Product(
    "D1", title="Dress", tags=("linen",), attributes={"colour": "red", "note": "x" * 3000}, photo="/secret/a.png"
)


class Service(ThreadingHTTPServer):
    """Answers as an OpenAI-compatible service does, and keeps what it is asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.status, self.asked = "", 200, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(json.dumps({"choices": [{"message": {"content": self.server.answer}}]}).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    with Service() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_title_and_selling_points(service, monkeypatch):
    monkeypatch.setenv("COPY_KEY", "hush")
    service.answer = 'Here:\n{"title": "Red linen\\u0007 dress", "selling_points": ["Light", " Airy ", ""]}'
    copy = Copywriter(service.url, "m", "COPY_KEY", "zh").write(PRODUCT)
    assert copy == Copy("Red linen dress", ("Light", "Airy"))
    ((path, authorization, body),) = service.asked
    assert (path, authorization, body["model"]) == ("/v1/chat/completions", "Bearer hush", "m")
    question = body["messages"][0]["content"]
    assert "in simplified Chinese" in question and "secret" not in question and "x" * 1001 not in question
    assert json.loads(question.splitlines()[-1])["attributes"]["colour"] == "red"


def test_an_answer_that_is_too_long_is_cut_and_said(service):
    service.answer = json.dumps({"title": "t" * 200, "selling_points": ["p" * 200] * 7})
    copy = Copywriter(service.url).write(PRODUCT)
    assert (len(copy.title), [len(point) for point in copy.selling_points]) == (120, [160] * 5)
    assert [warning.split(": ")[1] for warning in copy.warnings] == [
        "the service's title has 200 characters; it ends after 120.",
        "of the service's selling points the first 5 are kept, each up to 160 characters.",
    ]


@pytest.mark.parametrize("answer", ["no JSON", "[]", '{"title": ""}', '{"selling_points": ["a"]}'])
def test_an_answer_without_a_title(service, answer):
    service.answer = answer
    with pytest.raises(UserError, match="D1: the service's answer has no title"):
        Copywriter(service.url).write(PRODUCT)


def test_selling_points_that_are_none(service):
    service.answer = '{"title": "a", "selling_points": "b"}'
    assert Copywriter(service.url).write(PRODUCT) == Copy("a", (), ("D1: the service's answer has no selling points.",))


def test_a_refusal_and_a_service_that_is_not_there(service):
    service.status = 429
    with pytest.raises(UserError, match="answers 429"):
        Copywriter(service.url).write(PRODUCT)
    with pytest.raises(UserError, match="gives no response that can be read"):
        Copywriter("http://127.0.0.1:9/v1").write(PRODUCT)


def test_nothing_is_asked_unless_a_service_is_named():
    with pytest.raises(UserError, match=r"endpoint is empty: .*; texts of products are sent there and nowhere else"):
        Copywriter("")
    with pytest.raises(UserError, match="no environment variable of this name"):
        Copywriter("http://127.0.0.1:9/v1", key_from="NO_SUCH_KEY")
    with pytest.raises(UserError, match="language is 'de'; copy is written in en or zh"):
        Copywriter("http://127.0.0.1:9/v1", language="de")
