"""Who is let in: on this machine everyone but other sites' pages, elsewhere who has a key."""

import hashlib

import pytest

from lora_scripts_ext.api import origin
from lora_scripts_ext.api.access import with_key
from lora_scripts_ext.errors import NotFound, UserError
from lora_scripts_ext.library.keys import Keys

from . import api


@pytest.fixture
def service(tmp_path):
    return api.make_service(tmp_path)


@pytest.fixture
def client(service):
    with api.serving(service) as client:
        yield client


@pytest.fixture
def guarded(service):
    with api.serving(service, with_key(Keys(service.database), service.threads)) as client:
        yield client


@pytest.mark.parametrize(
    "host", ["127.0.0.1:7880", "localhost", "LOCALHOST:1", "[::1]:7880", "127.0.0.2", "a.localhost"]
)
def test_names_of_this_machine(host):
    assert origin.names_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example", "[::1", "@127.0.0.1"]
)
def test_names_that_another_site_has_made_up(client, host):
    if host != "@127.0.0.1":
        assert not origin.names_loopback(host)
        answer = client.get("queue", Host=host or "x")
        assert (answer.status, answer.json["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "none"}, 200),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
    ],
)
def test_pages_of_other_sites_are_refused(client, headers, status):
    headers = {name: text.format(port=client.port) for name, text in headers.items()}
    assert client.get("queue", **headers).status == status
    assert client.post("queue/pause", **headers).status == status


def test_a_key_opens_what_its_scope_says(service, guarded):
    keys = Keys(service.database)
    _, reading = keys.add("screen", "read")
    _, writing = keys.add("shop", "write")
    assert guarded.get("queue", Authorization=f"Bearer {reading}").status == 200
    refused = guarded.post("queue/pause", Authorization=f"Bearer {reading}")
    assert (refused.status, refused.json["code"]) == (403, "forbidden")
    assert guarded.post("queue/pause", Authorization=f"bearer {writing}").status == 200


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer lt_wrong", "Basic YTpi", "Bearer \xe9"])
def test_without_a_key_nothing_is_open(service, guarded, header):
    Keys(service.database).add("shop", "write")
    for path in ("queue", "openapi.json", "nothing", "events"):
        answer = guarded.get(path, **({} if header is None else {"Authorization": header}))
        assert (answer.status, answer.json["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_revoked_key_opens_nothing_from_the_next_request_on(service, guarded):
    key, secret = Keys(service.database).add("shop", "write")
    assert guarded.get("queue", Authorization=f"Bearer {secret}").status == 200
    Keys(service.database).revoke(key.id)
    assert guarded.get("queue", Authorization=f"Bearer {secret}").status == 401


def test_the_secret_is_nowhere_in_the_library(service, tmp_path):
    _, secret = Keys(service.database).add("shop", "write")
    service.database.close()
    files = b"".join(path.read_bytes() for path in tmp_path.glob("library.sqlite3*"))
    assert secret.encode() not in files
    assert hashlib.sha256(secret.encode()).hexdigest().encode() in files
    assert len(secret.removeprefix("lt_")) >= 43


def test_keys_are_listed_and_revoked_once(service):
    keys = Keys(service.database)
    assert not keys.usable()
    key, _ = keys.add("shop", "read")
    assert keys.usable() and keys.all() == [key]
    revoked = keys.revoke(key.id)
    assert keys.revoke(key.id) == revoked and not keys.usable()
    with pytest.raises(NotFound):
        keys.revoke("nobody")
    with pytest.raises(UserError):
        keys.add(" ", "read")
    service.database.close()


def test_routes_do_not_wait_for_the_threads_of_the_server(service, client):
    """In a WebUI requests for images may hold all of them."""
    from anyio import to_thread

    async def no_thread(*_arguments, **_options):
        raise AssertionError("a thread of the server was used")

    job = api.add_job(service)
    run_sync, to_thread.run_sync = to_thread.run_sync, no_thread
    try:
        paths = ("queue", "jobs", f"jobs/{job.id}", f"jobs/{job.id}/report", f"jobs/{job.id}/log", "system", "presets")
        assert {client.get(path).status for path in (*paths, f"jobs/{job.id}/files/job.json")} == {200}
        assert client.post(f"jobs/{job.id}/stop").status == 200
        with client.stream(f"jobs/{job.id}/events") as stream:
            assert len(list(stream)) == 2
    finally:
        to_thread.run_sync = run_sync
