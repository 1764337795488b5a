"""``service.yaml``: what is read, what is refused, and the time of day."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import pytest

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.jobs import service_file
from lora_scripts_ext.library import hour
from lora_scripts_ext.marks.c2pa import Credentials


def written(folder: Path, text: str) -> Path:
    (folder / service_file.NAME).write_text(text, encoding="utf-8")
    return folder


def test_without_the_file_there_is_nothing(tmp_path: Path) -> None:
    assert service_file.load(tmp_path) == service_file.ServiceFile()


def test_the_entries_of_a_file(tmp_path: Path) -> None:
    text = """
fetch:
  cars:
    command: [python, fetch.py, --since, 7]
    hour: 12:30
    timeout_minutes: 5
  plain:
    command: [/usr/local/bin/fetch]
webhooks:
  pim:
    url: https://pim.example/hook
    secret_from: PIM_SECRET
    events: [done]
"""
    loaded = service_file.load(written(tmp_path, text))
    assert loaded.credentials is None
    assert loaded.fetch["cars"] == service_file.Fetch(("python", "fetch.py", "--since", "7"), "12:30", 5.0)
    assert loaded.fetch["plain"] == service_file.Fetch(("/usr/local/bin/fetch",), "01:00", 60.0)
    assert loaded.webhooks["pim"] == service_file.Webhook("https://pim.example/hook", "", "PIM_SECRET", ("done",))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fetches: {}", "unknown key 'fetches'"),
        ("fetch: [python]", "write a name below it"),
        ("fetch: {cars: python}", "write its keys below the name"),
        ("fetch: {cars: {command: python fetch.py}}", "no shell reads it"),
        ("fetch: {cars: {command: []}}", "command is missing"),
        ("fetch: {cars: {command: ['']}}", "name the program"),
        ("fetch: {cars: {command: [python], hour: 25:00}}", "no time of day"),
        ("fetch: {cars: {command: [python], hour: 2}}", "no time of day"),
        ("fetch: {cars: {command: [python], shell: true}}", "unknown key 'shell'"),
        ("fetch: {cars: {command: [python], timeout_minutes: 0}}", "at least 0.01"),
        ("webhooks: {pim: {url: ftp://x, secret: s}}", "whole address"),
        ("webhooks: {pim: {url: 'http://[', secret: s}}", "whole address"),
        ("webhooks: {pim: {url: http://x}}", "either secret or secret_from"),
        ("webhooks: {pim: {url: http://x, secret: s, events: [ready]}}", "the events are"),
        ("credentials: chain.pem", "write its keys below the name"),
        ("credentials: {certificate: chain.pem}", "key is missing"),
        ("credentials: {certificate: a, key: b, algorithm: rsa}", "take one of es256"),
        ("credentials: {certificate: a, key: b, timestamp_url: here}", "whole address"),
        ("- cars", "expected lines"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says.replace("[", r"\[")) as caught:
        service_file.load(written(tmp_path, text))
    assert str(tmp_path) in str(caught.value)


def test_credentials_lie_beside_the_file(tmp_path: Path) -> None:
    text = "credentials: {certificate: chain.pem, key: /keys/key.pem, algorithm: ed25519}"
    assert service_file.load(written(tmp_path, text)).credentials == Credentials(
        tmp_path / "chain.pem", Path("/keys/key.pem"), "ed25519"
    )


@pytest.mark.parametrize(("text", "expected"), [("2:05", 125), ("02:05", 125), ("00:00", 0), ("1439", 1439)])
def test_a_time_of_day(text: str, expected: int) -> None:
    assert hour.minutes(text) == expected


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process cannot be set here")
@pytest.mark.parametrize(
    ("now", "day"),
    [
        ("2026-11-26T01:59", "2026-11-25"),
        ("2026-11-26T02:00", "2026-11-26"),
        ("2026-11-26T23:59", "2026-11-26"),
        ("2026-01-01T00:00", "2025-12-31"),
        # The clock springs from 02:00 to 03:00: the hour that does not exist has come at 03:00.
        ("2026-03-29T01:59", "2026-03-28"),
        ("2026-03-29T03:00", "2026-03-29"),
    ],
)
def test_the_day_on_which_an_hour_came_last(berlin: None, now: str, day: str) -> None:
    assert hour.newest("02:00", datetime.fromisoformat(now).timestamp()) == day
