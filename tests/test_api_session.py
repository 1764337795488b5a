"""A browser's login with a key, and who may make keys."""

import pytest

from lora_scripts_ext.api.access import with_key
from lora_scripts_ext.library.keys import Keys

from . import api


@pytest.fixture
def service(tmp_path):
    return api.make_service(tmp_path)


@pytest.fixture
def client(service):
    """Of a server for this machine alone."""
    with api.serving(service) as client:
        yield client


@pytest.fixture
def guarded(service):
    """Of a server that others can reach."""
    with api.serving(service, with_key(Keys(service.database), service.threads)) as client:
        yield client


@pytest.fixture
def keys(service):
    return Keys(service.database)


def browser(client, key):
    """A client with the cookie that it was given for ``key``, and what browsers send with every change."""
    answer = client.post("session", {"key": key})
    assert answer.status == 200
    cookie = answer.headers["set-cookie"].partition(";")[0]
    return api.Client(client.port, {"Cookie": cookie, "Origin": f"http://127.0.0.1:{client.port}"})


def test_a_browser_logs_in_with_a_key_and_out(guarded, keys):
    _, secret = keys.add("shop", "write")
    assert guarded.get("session").json == {"needed": True, "scope": None}
    answer = guarded.post("session", {"key": f" {secret}\n"})
    assert answer.json == {"needed": True, "scope": "write"}
    assert secret not in answer.body.decode()
    cookie, *attributes = answer.headers["set-cookie"].split("; ")
    # Without a path: it is then that of the request, as the browser knows it.
    assert set(attributes) == {"Max-Age=2592000", "HttpOnly", "SameSite=Strict"}
    logged_in = browser(guarded, secret)
    assert logged_in.get("queue").status == 200
    assert logged_in.post("queue/pause").status == 200
    assert logged_in.get("session").json == {"needed": True, "scope": "write"}
    out = logged_in.send("DELETE", "session")
    assert out.status == 204
    assert out.headers["set-cookie"].startswith(cookie.partition("=")[0] + "=; Max-Age=0;")


def test_a_reading_key_reads_and_can_log_in_again(guarded, keys):
    _, reading = keys.add("screen", "read")
    _, writing = keys.add("shop", "write")
    screen = browser(guarded, reading)
    assert screen.get("session").json == {"needed": True, "scope": "read"}
    assert screen.get("queue").status == 200
    assert screen.post("queue/pause").status == 403
    assert screen.post("session", {"key": writing}).json["scope"] == "write"
    assert screen.send("DELETE", "session").status == 204


def test_a_revoked_key_ends_its_session_at_once(guarded, keys):
    key, secret = keys.add("shop", "write")
    logged_in = browser(guarded, secret)
    keys.revoke(key.id)
    assert logged_in.get("queue").status == 401
    assert logged_in.get("session").json == {"needed": True, "scope": None}
    assert guarded.post("session", {"key": secret}).status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site", "Origin": "http://127.0.0.1:{port}"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
    ],
)
def test_a_cookie_changes_nothing_for_another_sites_page(guarded, keys, headers, status):
    _, secret = keys.add("shop", "write")
    cookie = browser(guarded, secret).headers["Cookie"]
    headers = {name: text.format(port=guarded.port) for name, text in headers.items()}
    assert guarded.post("queue/pause", Cookie=cookie, **headers).status == status


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}])
def test_another_sites_page_cannot_log_a_browser_in_or_out(guarded, keys, headers):
    _, secret = keys.add("shop", "write")
    assert guarded.post("session", {"key": secret}, **headers).status == 403
    assert guarded.send("DELETE", "session", headers=headers).status == 403


def test_a_wrong_header_is_not_mended_by_a_cookie(guarded, keys):
    _, secret = keys.add("shop", "write")
    assert browser(guarded, secret).get("queue", Authorization="Bearer lt_wrong").status == 401


def test_over_https_the_cookie_is_only_for_https(guarded, keys):
    _, secret = keys.add("shop", "write")
    answer = guarded.post("session", {"key": secret}, X_Forwarded_Proto="https")
    assert "Secure" in answer.headers["set-cookie"].split("; ")


def test_trying_keys_is_slow(guarded, keys, service):
    keys.add("shop", "write")
    answers = [guarded.post("session", {"key": "lt_wrong"}) for _ in range(11)]
    assert {answer.status for answer in answers[:10]} == {401}
    assert answers[0].json["field"] == "key"
    assert (answers[10].status, answers[10].headers["retry-after"]) == (429, "5")
    assert "Too many keys" in answers[10].json["detail"]


def test_on_the_machine_itself_no_key_is_needed(client):
    assert client.get("session").json == {"needed": False, "scope": "write"}
    answer = client.post("session", {"key": "whatever"})
    assert (answer.status, "set-cookie" in answer.headers) == (200, False)


def test_no_secret_is_kept(guarded, client, keys, tmp_path):
    made = client.post("keys", {"name": "shop"}, Idempotency_Key="one").json["key"]
    guarded.post("session", {"key": made}, Idempotency_Key="two")
    files = b"".join(path.read_bytes() for path in tmp_path.glob("library.sqlite3*"))
    assert b"api_keys" in files and made.encode() not in files


def test_keys_are_made_listed_and_revoked_on_the_machine(client, keys):
    made = client.post("keys", {"name": "screen", "scope": "read"})
    assert made.status == 201
    key = made.json
    assert keys.find(key.pop("key")).id == key["id"]
    assert client.get("keys").json == {"items": [key]}
    assert (key["name"], key["scope"], key["revoked"]) == ("screen", "read", None)
    assert client.send("DELETE", f"keys/{key['id']}").status == 204
    assert client.get("keys").json["items"][0]["revoked"]
    assert client.send("DELETE", "keys/none").status == 404
    assert client.post("keys", {"name": " "}).json["field"] == "name"
    assert client.post("keys", {"name": "x", "scope": "all"}).json["field"] == "scope"


def test_who_has_a_key_makes_no_others(guarded, keys):
    key, secret = keys.add("shop", "write")
    headers = {"Authorization": f"Bearer {secret}"}
    for answer in (
        guarded.get("keys", **headers),
        guarded.post("keys", {"name": "more"}, **headers),
        guarded.send("DELETE", f"keys/{key.id}", headers=headers),
    ):
        assert (answer.status, answer.json["code"]) == (403, "forbidden")
        assert "on the machine itself" in answer.json["detail"]
    assert keys.all() == [key]
