"""Webhooks: jobs' changes and what people decide, sent to the addresses in ``service.yaml``, signed, again and again
until they are taken."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import sqlite3
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import __version__, json_text
from ..captioning import exchange
from ..errors import UserError
from ..jobs import service_file
from ..jobs.service_file import Webhook
from ..jobs.view import job_view
from ..library.database import Database
from ..library.job import Change
from ..library.queue import Queue
from ..time_text import iso

SIGNATURE = "X-LoRA-Trainer-Signature"
DELIVERY = "X-LoRA-Trainer-Delivery"
_PLACE = "webhooks_seq"
_POLL_SECONDS = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 3600.0
_GIVEN_UP_SECONDS = 24 * 3600.0
_KEPT_SECONDS = 7 * 24 * 3600.0
# While one is being sent no other process sends it, too.
_LEASE_SECONDS = exchange.SECONDS + 30.0
_LAST_SECONDS = 5.0
_AT_ONCE = 200
_DELIVERED = "delivered"
# What a change of a job of a kind is called, too.
_OF_KINDS = {("catalogue_export", "done"): ("catalogue_exported",)}


@dataclass(frozen=True)
class Delivery:
    """Something to be sent; times in seconds since the epoch."""

    id: int
    body: str
    tries: int
    created: float


def signature(secret: str, body: bytes, now: int) -> str:
    """The value of the header ``X-LoRA-Trainer-Signature``: HMAC-SHA256 over the time, a dot and the body."""
    digest = hmac.new(secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


def with_secrets(hooks: Mapping[str, Webhook], variables: Mapping[str, str] = os.environ) -> dict[str, Webhook]:
    """The hooks, with the secrets that lie in environment variables.

    Raises:
        UserError: such a variable is not set.
    """
    found = {}
    for name, hook in hooks.items():
        secret = hook.secret or variables.get(hook.secret_from, "")
        if not secret:
            raise UserError(
                f"{service_file.NAME}: webhooks: {name}: the environment variable {hook.secret_from} is not set; set "
                "it before the server is started."
            )
        found[name] = Webhook(hook.url, secret, "", hook.events)
    return found


class Webhooks:
    """Sends what becomes of jobs, a thread for each address: one that does not answer keeps no other waiting."""

    def __init__(self, database: Database, queue: Queue, hooks: Mapping[str, Webhook]) -> None:
        """Send nothing yet. ``hooks``: with their secrets, by name."""
        self._database = database
        self._queue = queue
        self._hooks = dict(hooks)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name,), name=f"lora-trainer-webhook-{name}", daemon=True)
            for name in hooks
        ]

    def start(self) -> None:
        """Begin to send; what happened before the hooks were first used is not sent."""
        with self._database.writing() as connection:
            if not self._hooks:
                # Webhooks that are added later must not receive everything since.
                connection.execute("DELETE FROM settings WHERE key = ?", [_PLACE])
            newest = str(self._queue.newest_change())
            connection.execute("INSERT OR IGNORE INTO settings (key, value) VALUES (?, ?)", [_PLACE, newest])
            marks = ", ".join("?" * len(self._hooks))
            connection.execute(
                f"UPDATE deliveries SET outcome = 'not sent: the webhook was removed' "
                f"WHERE outcome = '' AND hook NOT IN ({marks})",
                list(self._hooks),
            )
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send what is left now, but not for long; the rest is sent by the next server."""
        self._stop.set()
        until = time.monotonic() + _LAST_SECONDS
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))

    def collect(self) -> None:
        """Turn new changes of jobs into deliveries, each once, whichever process does it."""
        with self._database.reading() as connection:
            if self._queue.newest_change() == _place(connection):
                return
        with self._database.writing() as connection:
            changes = self._queue.changes(after=_place(connection), limit=_AT_ONCE)
            now = time.time()
            for change in changes:
                for event in self._events(change):
                    wanted = [name for name, hook in self._hooks.items() if event in hook.events]
                    body = json_text.dumps(self._message(change, event)) if wanted else ""
                    connection.executemany(
                        "INSERT INTO deliveries (hook, body, next_try, created) VALUES (?, ?, ?, ?)",
                        [(name, body, now, now) for name in wanted],
                    )
            if changes:
                connection.execute(
                    "INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", [_PLACE, str(changes[-1].seq)]
                )
                connection.execute(
                    "DELETE FROM deliveries WHERE outcome != '' AND ABS(created - ?) > ?", [now, _KEPT_SECONDS]
                )

    def send(self, name: str) -> bool:
        """Send the next delivery of a hook that is due; False where there is none."""
        delivery = self._take(name)
        if delivery is None:
            return False
        outcome, retry_at = _DELIVERED, 0.0
        problem = self._post(self._hooks[name], delivery)
        if problem:
            now = time.time()
            outcome, retry_at = "", now + min(_FIRST_PAUSE * 2.0**delivery.tries, _LONGEST_PAUSE)
            if abs(now - delivery.created) > _GIVEN_UP_SECONDS:
                outcome = f"given up: {problem}"
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE deliveries SET tries = tries + 1, outcome = ?, next_try = ? WHERE id = ?",
                [outcome, retry_at, delivery.id],
            )
        return True

    def _run(self, name: str) -> None:
        seen, ends = -1, False
        while not ends:
            ends = self._stop.wait(_POLL_SECONDS)
            try:
                version = self._database.version()
                if version != seen:
                    seen = version
                    self.collect()
                while self.send(name):
                    pass
            except (sqlite3.Error, UserError):
                # Locked, or on a full disk, or closed at the end: what was not noted is sent again.
                seen = -1

    def _take(self, name: str) -> Delivery | None:
        """The next delivery, which no other process takes meanwhile."""
        now = time.time()
        # One that lies too far in the future was noted before the clock was set back.
        due = "(next_try <= ? OR next_try > ?)"
        values = [name, now, now + _LONGEST_PAUSE + _LEASE_SECONDS]
        query = f"SELECT id, body, tries, created FROM deliveries WHERE outcome = '' AND hook = ? AND {due} ORDER BY id"
        with self._database.reading() as connection:
            if connection.execute(query, values).fetchone() is None:
                return None
        with self._database.writing() as connection:
            row = connection.execute(query, values).fetchone()
            if row is None:
                return None
            connection.execute("UPDATE deliveries SET next_try = ? WHERE id = ?", [now + _LEASE_SECONDS, row["id"]])
            return Delivery(*row)

    def _post(self, hook: Webhook, delivery: Delivery) -> str:
        """Send; returns what went wrong, empty where nothing did."""
        body = delivery.body.encode()
        headers = {
            "Content-Type": "application/json", "User-Agent": f"lora-trainer/{__version__}",
            SIGNATURE: signature(hook.secret, body, int(time.time())), DELIVERY: str(delivery.id),
        }  # fmt: skip
        try:
            exchange.post(hook.url, body, headers)
        except exchange.Refused as refused:
            return f"it answered {refused.status}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}"[:200]
        return ""

    def _events(self, change: Change) -> tuple[str, ...]:
        kind = self._queue.get(change.job).kind
        return (change.state, *_OF_KINDS.get((kind, change.state), ()))

    def _message(self, change: Change, event: str) -> dict[str, Any]:
        # In the same transaction: a job that is removed takes its changes with it.
        job = job_view(self._queue, self._queue.get(change.job))
        return {
            "seq": change.seq, "event": f"job.{event}" if event == change.state else event, "at": iso(change.at),
            "state": change.state, "reason": change.reason, "job": job,
        }  # fmt: skip


def announce(database: Database, event: str, data: Mapping[str, Any]) -> None:
    """Let the webhooks that want this event send it, in the transaction that makes it happen."""
    try:
        hooks = service_file.load(database.folder).webhooks
    except UserError:
        # What is wrong with the file is said where the settings are shown.
        return
    now = time.time()
    body = json_text.dumps({"event": event, "at": iso(now), **data})
    with database.writing() as connection:
        connection.executemany(
            "INSERT INTO deliveries (hook, body, next_try, created) VALUES (?, ?, ?, ?)",
            [(name, body, now, now) for name, hook in hooks.items() if event in hook.events],
        )


def _place(connection: sqlite3.Connection) -> int:
    """The number of the last change that was collected."""
    row = connection.execute("SELECT value FROM settings WHERE key = ?", [_PLACE]).fetchone()
    return int(row["value"]) if row else 0


def last_delivery(database: Database, hook: str) -> dict[str, Any] | None:
    """The newest message of a hook ready for JSON; None where nothing was sent lately."""
    query = "SELECT tries, outcome, created FROM deliveries WHERE hook = ? ORDER BY id DESC LIMIT 1"
    with database.reading() as connection:
        row = connection.execute(query, [hook]).fetchone()
    if row is None:
        return None
    if row["outcome"]:
        state = "delivered" if row["outcome"] == _DELIVERED else "given_up"
    else:
        state = "failing" if row["tries"] else "waiting"
    reason = row["outcome"] if state == "given_up" else ""
    return {"at": iso(row["created"]), "state": state, "tries": row["tries"], "reason": reason}


def of_service_file(database: Database, queue: Queue) -> Webhooks:
    """The webhooks of ``service.yaml`` in the data folder.

    Raises:
        UserError: the file is wrong, or a secret is missing.
    """
    return Webhooks(database, queue, with_secrets(service_file.load(database.folder).webhooks))
