"""Whatever is wrong with a request, the answer is problem JSON with a code, the field and what to do."""

import json
import sqlite3

import pytest
from fastapi import FastAPI

from lora_scripts_ext.api import errors
from lora_scripts_ext.api.access import on_loopback
from lora_scripts_ext.api.app import PREFIX, routes
from lora_scripts_ext.api.limits import Limits, RateLimit

from . import api


@pytest.fixture
def service(tmp_path):
    return api.make_service(tmp_path)


@pytest.fixture
def client(service):
    with api.serving(service) as client:
        yield client


CONFIG = {"train_data_dir": "/photos", "output_name": "shoes"}


def problem(answer, status, code, field=None):
    """The problem of an answer, which must be whole."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json
    assert {"type", "title", "status", "detail", "code", "field", "remedy"} <= found.keys()
    assert (found["status"], found["code"], found["field"]) == (status, code, field)
    assert found["type"] == f"urn:lora-trainer:error:{code}"
    assert found["detail"].endswith((".", "?")) and found["remedy"].endswith((".", "?"))
    assert "\n" not in found["detail"]
    return found


@pytest.mark.parametrize(
    ("value", "field", "says"),
    [
        ({"config": {**CONFIG, "lora_rank": 0}}, "config.lora_rank", "at least 1"),
        ({"config": {**CONFIG, "lora_rnk": 4}}, "config.lora_rnk", "did you mean lora_rank?"),
        ({"config": {"output_name": "shoes"}}, "config.train_data_dir", "is missing"),
        ({"config": {**CONFIG, "output_name": "../up"}}, "config.output_name", "cannot hold '/'"),
        ({"config": {**CONFIG, "masked_loss": "files"}}, "config.masked_loss", "mask_dir is empty"),
        ({"config": CONFIG, "kind": "paint"}, "kind", "is no kind of job"),
        ({"config": CONFIG, "window": "late"}, "window", "is no time of day"),
        ({"config": CONFIG, "not_before": "soon"}, "not_before", "is no time"),
        ({"config": CONFIG, "after": "nobody"}, "after", "there is no job nobody"),
        ({"config": CONFIG, "priorty": 1}, "priorty", "there is no such field"),
        ({"config": CONFIG, "priority": 10**30}, "priority", "less than or equal to 1000000"),
        ({"config": CONFIG, "name": "n" * 201}, "name", "at most 200 characters"),
        ({"config": "text"}, "config", "valid dict"),
        (
            {"kind": "caption", "config": {"train_data_dir": "/p", "captioner": "me"}},
            "config.captioner",
            "expected one",
        ),
    ],
)
def test_a_wrong_job_names_its_field(client, value, field, says):
    assert says in problem(client.post("jobs", value), 422, "invalid", field)["detail"]
    assert client.get("jobs").json["items"] == []


def test_the_remedy_is_what_the_sentence_says_last(client):
    found = problem(client.post("jobs", {"config": {**CONFIG, "lora_rnk": 4}}), 422, "invalid", "config.lora_rnk")
    assert found["remedy"] == "Did you mean lora_rank?"


@pytest.mark.parametrize("path", ["jobs/nobody", "jobs/nobody/report", "jobs/nobody/log", "jobs/nobody/events"])
def test_there_is_no_such_job(client, path):
    assert "nobody" in problem(client.get(path), 404, "not_found")["detail"]


@pytest.mark.parametrize("path", ["nothing", "", "jobs/", "jobs/a/b/c", "%2e%2e/x", "jobs%00", "j" * 3000])
def test_there_is_no_such_address(client, path):
    assert len(problem(client.get(path), 404, "no_such_route")["detail"]) < 400


def test_an_address_beside_the_prefix(client):
    assert PREFIX in problem(client.get("/index.html"), 404, "no_such_route")["detail"]


@pytest.mark.parametrize(("method", "path", "allowed"), [("PUT", "jobs", "GET, POST"), ("HEAD", "queue", "GET")])
def test_a_wrong_method_says_the_right_ones(client, method, path, allowed):
    answer = client.send(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        problem(answer, 405, "method_not_allowed")


@pytest.mark.parametrize(
    ("body", "media_type", "status", "code"),
    [
        (b"{", "application/json", 400, "bad_json"),
        (b"\xff\xfe", "application/json", 400, "bad_json"),
        (b"[" * 200_000, "application/json", 400, "bad_json"),
        (b'{"config": {}}', "text/plain", 415, "wrong_media_type"),
        (b'{"config": {}}', "application/x-www-form-urlencoded", 415, "wrong_media_type"),
        (b'"' + b"x" * 2**20 + b'"', "application/json", 413, "too_large"),
    ],
    ids=range(6),
)
def test_a_body_that_is_none(client, body, media_type, status, code):
    problem(client.send("POST", "jobs", body=body, headers={"Content-Type": media_type}), status, code)


def test_a_body_in_pieces_is_measured_too(client):
    pieces = (b"x" * 65536 for _ in range(40))
    answer = client.send("POST", "jobs", body=pieces, headers={"Content-Type": "application/json"})
    problem(answer, 413, "too_large")


def test_text_that_cannot_be_kept(client):
    body = b'{"config": {"train_data_dir": "/photos", "output_name": "shoes"}, "name": "\\ud800"}'
    answer = client.send("POST", "jobs", body=body, headers={"Content-Type": "application/json"})
    assert answer.status == 422
    problem(answer, 422, "invalid", answer.json["field"])


def test_a_cursor_that_is_none(client):
    problem(client.get("jobs?cursor=first"), 422, "invalid", "cursor")
    problem(client.get("jobs?cursor=" + "9" * 30), 422, "invalid", None)
    problem(client.get("jobs?limit=0"), 422, "invalid", "limit")


def test_too_many_jobs_at_once(tmp_path):
    with api.serving(api.make_service(tmp_path, limits=Limits(batch=2))) as client:
        problem(client.post("jobs/batch", {"jobs": [{"config": CONFIG}] * 3}), 413, "too_large", "jobs")


def test_too_many_requests_are_told_when_to_come_again(tmp_path):
    with api.serving(api.make_service(tmp_path, limits=Limits(writes=0.5, write_burst=2))) as client:
        assert [client.post("queue/pause").status for _ in range(2)] == [200, 200]
        refused = client.post("queue/pause")
        problem(refused, 429, "too_many_requests")
        assert refused.headers["retry-after"] == "2"
        assert client.get("queue").status == 200


def test_tokens_come_back_with_time():
    now = [100.0]
    limit = RateLimit(2.0, 3.0, lambda: now[0])
    for _ in range(3):
        limit.take("a")
    with pytest.raises(errors.Problem):
        limit.take("a")
    limit.take("b")
    now[0] += 0.5
    limit.take("a")
    with pytest.raises(errors.Problem):
        limit.take("a")


def test_an_error_of_ours_is_one_sentence_and_its_traceback_a_file(service, client, tmp_path, monkeypatch):
    def fail():
        raise RuntimeError("secret details")

    monkeypatch.setattr(service.queue, "counts", fail)
    found = problem(client.get("queue"), 500, "unexpected")
    assert "secret" not in json.dumps(found)
    assert "secret details" in (tmp_path / "crash.log").read_text(encoding="utf-8")


def test_a_library_that_cannot_be_written_is_busy(service, client, monkeypatch):
    def fail(paused):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(service.queue, "pause", fail)
    answer = client.post("queue/pause")
    problem(answer, 503, "busy")
    assert answer.headers["retry-after"] == "5"


def test_the_errors_of_other_routes_of_an_application_stay_as_they_are(service):
    app = FastAPI()

    @app.get("/other")
    def other(number: int) -> int:
        return number

    before = dict(app.exception_handlers)
    app.include_router(routes(service, on_loopback()))
    assert app.exception_handlers == before
    service.database.close()


@pytest.mark.parametrize(
    ("sentence", "field"),
    [
        ("config: lora_rank is 0, it must be at least 1.", "config.lora_rank"),
        ("config: unknown key foo; did you mean loss?", "config.foo"),
        ("config: train_data_dir is missing; folder of training images.", "config.train_data_dir"),
        ("window: 'x' is no time of day; write it like 22:00-06:00.", "window"),
        ("There is no job 7; `jobs list` shows them all.", None),
        ("/photos: this server reads only below /data; move it there.", None),
    ],
)
def test_the_field_that_a_sentence_names(sentence, field):
    assert errors.field_of(sentence) == field
