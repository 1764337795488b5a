"""``Idempotency-Key``: a request that is sent twice is done once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lora_scripts_ext.api import idempotency
from lora_scripts_ext.api.errors import Problem
from lora_scripts_ext.jobs import submit

from . import api


@pytest.fixture
def service(tmp_path):
    return api.make_service(tmp_path)


@pytest.fixture
def client(service):
    with api.serving(service) as client:
        yield client


JOB = {"config": {"train_data_dir": "/photos", "output_name": "shoes"}}
KEY = {"Idempotency_Key": "one"}


def test_the_second_answer_is_the_first(client):
    first, second = (client.post("jobs", JOB, **KEY) for _ in range(2))
    assert (second.status, second.body) == (201, first.body)
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len(client.get("jobs").json["items"]) == 1


def test_a_key_belongs_to_one_request(client):
    client.post("jobs", JOB, **KEY)
    for answer in (client.post("jobs", {**JOB, "priority": 1}, **KEY), client.post("queue/pause", **KEY)):
        assert (answer.status, answer.json["code"], answer.json["field"]) == (422, "key_reused", "Idempotency-Key")


def test_a_request_that_was_refused_may_be_corrected(client):
    assert client.post("jobs", {"config": {}}, **KEY).status == 422
    assert client.post("jobs", JOB, **KEY).status == 201


@pytest.mark.parametrize("key", ["", "k" * 201])
def test_what_can_be_no_key(client, key):
    answer = client.post("jobs", JOB, Idempotency_Key=key)
    assert (answer.status, answer.json["field"]) == (400, "Idempotency-Key")


def test_many_at_once_queue_one_job(client):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: client.post("jobs", JOB, **KEY), range(40)))
    assert {answer.status for answer in answers} <= {201, 409}
    done = [answer for answer in answers if answer.status == 201]
    assert len({answer.body for answer in done}) == 1
    assert {answer.json["code"] for answer in answers if answer.status == 409} <= {"request_in_progress"}
    assert len(client.get("jobs").json["items"]) == 1


def test_while_the_first_is_being_done_the_second_waits_its_turn(client, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    planned = submit.planned

    def slow(*arguments):
        begun.set()
        assert go_on.wait(10)
        return planned(*arguments)

    monkeypatch.setattr(submit, "planned", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "jobs", JOB, **KEY)
        assert begun.wait(10)
        second = client.post("jobs", JOB, **KEY)
        assert (second.status, second.json["code"], second.headers["retry-after"]) == (409, "request_in_progress", "1")
        go_on.set()
        assert first.result().status == 201


def test_a_job_is_there_with_its_answer_or_not_at_all(service, client, monkeypatch):
    def fail(answer):
        raise RuntimeError("killed")

    monkeypatch.setattr(service.requests, "keep", fail)
    assert client.post("jobs", JOB, **KEY).status == 500
    monkeypatch.undo()
    assert client.get("jobs").json["items"] == []
    assert client.post("jobs", JOB, **KEY).status == 201


def test_a_request_of_a_server_that_is_gone_is_done_again(service):
    with service.database.writing() as connection:
        connection.execute(
            "INSERT INTO requests (key, client, digest, owner, created) VALUES ('one', '', 'd', ?, ?)",
            ["00000000-1-00000000", time.time()],
        )
    requests = service.requests
    with pytest.raises(Problem, match="still being done"):
        requests.begin("one", "", "d")
    host = idempotency.Owner.current().tag().split("-")[0]
    with service.database.writing() as connection:
        connection.execute("UPDATE requests SET owner = ?", [f"{host}-{2**22 + 1}-01234567"])
    assert isinstance(requests.begin("one", "", "d"), idempotency.Attempt)
    service.database.close()


def test_keys_are_forgotten_after_two_days(service, monkeypatch):
    attempt = service.requests.begin("one", "", "d")
    service.requests.end(attempt, idempotency.Answer(201, "{}", ""))
    assert isinstance(service.requests.begin("one", "", "d"), idempotency.Answer)
    later = time.time() + idempotency.KEPT_SECONDS + 1
    monkeypatch.setattr(idempotency.time, "time", lambda: later)
    assert isinstance(service.requests.begin("one", "", "other"), idempotency.Attempt)
    service.database.close()


def test_a_key_of_one_client_says_nothing_of_anothers(service):
    service.requests.begin("one", "a", "d")
    assert isinstance(service.requests.begin("one", "b", "e"), idempotency.Attempt)
    service.database.close()
