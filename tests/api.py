"""A server of the API in a thread, and a client of it, for tests in every version of FastAPI."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection

import uvicorn

from lora_scripts_ext.api.access import on_loopback
from lora_scripts_ext.api.app import PREFIX, standalone
from lora_scripts_ext.api.service import Service
from lora_scripts_ext.jobs.environment import Standalone
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.job import NewJob
from lora_scripts_ext.owner import Owner


def make_service(folder, **options):
    """A service on a library in ``folder``."""
    return Service(Database(folder), Standalone(folder, base_model=str(folder / "base.safetensors")), **options)


@dataclass
class Answer:
    """What a server has answered."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Client:
    """Sends requests to a server; a new connection for each, unless it is kept by ``stream``."""

    def __init__(self, port, headers=None):
        self.port = port
        self.headers = headers or {}

    def get(self, path, **headers):
        return self.send("GET", path, headers=headers)

    def post(self, path, value=None, **headers):
        return self.send("POST", path, value, headers)

    def send(self, method, path, value=None, headers=None, body=None):
        """``value`` is sent as JSON, ``body`` as it is; ``path`` below the prefix unless it is absolute."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {**self.headers, **_written(headers or {})}
        if value is not None:
            body = json.dumps(value).encode()
            sent.setdefault("Content-Type", "application/json")
        connection.request(method, path if path.startswith("/") else f"{PREFIX}/{path}", body, sent)
        response = connection.getresponse()
        answer = Answer(response.status, {name.lower(): text for name, text in response.getheaders()}, response.read())
        connection.close()
        return answer

    @contextmanager
    def stream(self, path, **headers):
        """The events of a stream, one after the other, as dictionaries with ``id``, ``event``, ``data``."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", f"{PREFIX}/{path}", headers={**self.headers, **_written(headers)})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        try:
            yield _events(response)
        finally:
            connection.close()


def _written(headers):
    return {name.replace("_", "-"): text for name, text in headers.items()}


def _events(response):
    event = {}
    for line in iter(response.readline, b""):
        text = line.decode().rstrip("\n")
        if text.startswith(":"):
            continue
        if not text:
            if event:
                yield event
            event = {}
            continue
        name, _, value = text.partition(": ")
        event[name] = json.loads(value) if name == "data" else value


@contextmanager
def serving(service, access=None):
    """A client of a server with the routes of ``service``."""
    server = uvicorn.Server(
        uvicorn.Config(
            standalone(service, access or on_loopback()), port=0, log_level="error", lifespan="off",
            timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield Client(server.servers[0].sockets[0].getsockname()[1])
    finally:
        service.close()
        server.should_exit = True
        thread.join(10)
        service.database.close()


def wait_until(condition, seconds=20.0):
    """Wait until ``condition()`` holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def add_job(service, name="shoes", **fields):
    """A queued job that no worker knows what to do with."""
    return service.queue.add([NewJob("train", {"max_steps": 3}, name, **fields)])[0]


def claimed(service, job):
    """The claim of this process on the next job, which is ``job``."""
    claim = service.queue.claim("here cpu", Owner.current())
    assert claim.job.id == job.id
    service.queue.running(claim)
    return claim
