"""Webhooks: every change once, signed, until it is taken."""

import hashlib
import hmac
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lora_scripts_ext.api import webhooks
from lora_scripts_ext.api.webhooks import Webhooks
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.jobs.service_file import Webhook

from . import api


@contextmanager
def shop(answers=()):
    """A server that keeps what it is sent; ``answers``: statuses, 200 after the last."""
    received, statuses = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers, body))
            self.send_response(statuses.pop(0) if statuses else 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", received
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def service(tmp_path):
    service = api.make_service(tmp_path)
    yield service
    service.database.close()


def hooks(service, url, events=("done", "stopped")):
    made = Webhooks(service.database, service.queue, {"shop": Webhook(url, "secret", "", events)})
    with service.database.writing() as connection:
        connection.execute("INSERT INTO settings (key, value) VALUES ('webhooks_seq', '0')")
    return made


def outcomes(service):
    with service.database.reading() as connection:
        return [tuple(row) for row in connection.execute("SELECT outcome, tries FROM deliveries ORDER BY id")]


def make_due(service):
    with service.database.writing() as connection:
        connection.execute("UPDATE deliveries SET next_try = 0")


def test_what_was_asked_for_is_sent_signed(service):
    job = api.add_job(service)
    service.queue.stop(job.id)
    with shop() as (url, received):
        sender = hooks(service, url)
        sender.collect()
        assert sender.send("shop") and not sender.send("shop")
    (path, headers, body) = received[0]
    message = json.loads(body)
    assert (path, message["event"], message["job"]["id"]) == ("/hook", "job.stopped", job.id)
    assert message["reason"] == "Stopped before it was started."
    fields = dict(part.split("=") for part in headers["X-LoRA-Trainer-Signature"].split(","))
    # As docs/api.md says to check it.
    expected = hmac.new(b"secret", fields["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert fields["v1"] == expected
    assert abs(int(fields["t"]) - time.time()) < 60
    assert outcomes(service) == [("delivered", 1)]


def test_the_signature_of_a_known_message():
    # Computed with `printf '1700000000.{}' | openssl dgst -sha256 -hmac secret`.
    digest = "b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
    assert webhooks.signature("secret", b"{}", 1700000000) == f"t=1700000000,v1={digest}"


def test_each_change_is_collected_once_whoever_does_it(service):
    job = api.add_job(service)
    service.queue.stop(job.id)
    with shop() as (url, received):
        first = hooks(service, url, ("queued", "stopped"))
        second = Webhooks(service.database, service.queue, {"shop": Webhook(url, "secret", "", ("queued", "stopped"))})
        threads = [threading.Thread(target=one.collect) for one in (first, second) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while first.send("shop"):
            pass
    assert [json.loads(body)["state"] for _, _, body in received] == ["queued", "stopped"]


def test_what_is_not_taken_is_sent_again_later_and_the_same(service):
    service.queue.stop(api.add_job(service).id)
    with shop([500, 302]) as (url, received):
        sender = hooks(service, url)
        sender.collect()
        assert sender.send("shop")
        assert outcomes(service) == [("", 1)]
        assert not sender.send("shop"), "the pause has not passed"
        for tries in (2, 3):
            make_due(service)
            assert sender.send("shop")
            assert outcomes(service)[0][1] == tries
    assert outcomes(service) == [("delivered", 3)]
    assert {path for path, _, _ in received} == {"/hook"}, "a redirect was followed"
    assert len({body for _, _, body in received}) == 1
    assert len({headers["X-LoRA-Trainer-Delivery"] for _, headers, _ in received}) == 1


def test_after_a_day_it_is_given_up(service):
    service.queue.stop(api.add_job(service).id)
    with shop([404]) as (url, _):
        sender = hooks(service, url)
        sender.collect()
        with service.database.writing() as connection:
            connection.execute("UPDATE deliveries SET created = created - ?", [25 * 3600])
        sender.send("shop")
    assert outcomes(service) == [("given up: it answered 404", 1)]


def test_nobody_there_is_no_reason_to_end(service):
    service.queue.stop(api.add_job(service).id)
    sender = hooks(service, "http://127.0.0.1:9/hook")
    sender.collect()
    assert sender.send("shop")
    assert outcomes(service) == [("", 1)]


def test_threads_send_what_happens_while_they_run(service):
    before = api.add_job(service)
    service.queue.stop(before.id)
    with shop() as (url, received):
        sender = Webhooks(service.database, service.queue, {"shop": Webhook(url, "secret", "", ("stopped",))})
        sender.start()
        job = api.add_job(service)
        service.queue.stop(job.id)
        api.wait_until(lambda: received)
        last = api.add_job(service)
        service.queue.stop(last.id)
        sender.stop()
    assert [json.loads(body)["job"]["id"] for _, _, body in received] == [job.id, last.id]


def test_secrets_come_from_the_environment():
    hook = Webhook("https://shop.example", "", "SHOP_SECRET", ("done",))
    assert webhooks.with_secrets({"shop": hook}, {"SHOP_SECRET": "s"})["shop"].secret == "s"
    with pytest.raises(UserError, match="SHOP_SECRET is not set; set it"):
        webhooks.with_secrets({"shop": hook}, {})
