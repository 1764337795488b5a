"""Requests to a shop's system: to named hosts alone, at its pace, and again where it asks for that."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from ..captioning import exchange
from ..captioning.chat import plain
from ..errors import UserError

_SECONDS = 120
_LARGEST = 16 * 1024 * 1024
_TRIES = 6
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 120.0
_SHOWN = 300


class Refused(Exception):
    """The system answers that the request is wrong.

    Attributes:
        status: of the response.
        reason: its words, made fit to print.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


class Unsure(Exception):
    """No answer, or the system's own failure: whether the request has been carried out is not known."""


@dataclass(frozen=True)
class Response:
    """What came back; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body.

        Raises:
            UserError: it is no JSON.
        """
        try:
            return json.loads(self.body or b"null")
        except (ValueError, RecursionError) as error:
            raise UserError("the service's response is no JSON; check its address.") from error


@dataclass
class Pace:
    """At most so many requests a second, from any number of threads."""

    per_second: float
    _next: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self) -> None:
        """Until the next request may be sent."""
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._next)
            self._next = begin + 1 / self.per_second
        time.sleep(begin - now)


class Client:
    """Sends requests to ``hosts`` (name, and port where it is an unusual one) and to no other."""

    def __init__(self, hosts: Collection[str], per_second: float = 100.0) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._pace = Pace(per_second)

    def send(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        repeatable: bool = True,
    ) -> Response:
        """The response to a request.

        Where the system is busy (429) it is sent again after the time that it asks for. Where the system fails (5xx) or
        does not answer it is sent again too, if it is ``repeatable``.

        Raises:
            Refused: it answers with another status than success.
            Unsure: a request that is not repeatable may have been carried out or not.
            UserError: the address may not be used, or the system fails again and again.
        """
        host = self._checked(url)
        reason = ""
        for attempt in range(_TRIES):
            self._pace.wait()
            wait = min(_FIRST_WAIT * 2**attempt, _LONGEST_WAIT)
            request = urllib.request.Request(url, body, dict(headers or {}), method=method)
            try:
                return _exchanged(request)
            except urllib.error.HTTPError as error:
                status, asked = error.code, _asked(error.headers.get("Retry-After") or "")
                text = plain(error.read(_LARGEST).decode("utf-8", "replace"))[:_SHOWN]
                error.close()
                if status < 500 and status != 429:
                    raise Refused(status, text) from error
                if status >= 500 and not repeatable:
                    raise Unsure(f"{host} answers {status}") from error
                reason, wait = f"answers {status}", wait if asked is None else min(asked, _LONGEST_WAIT)
            except (OSError, http.client.HTTPException) as error:
                reason = plain(str(error)) or type(error).__name__
                if not repeatable:
                    raise Unsure(f"{host} does not answer ({reason})") from error
            time.sleep(wait)
        raise UserError(f"{host} {reason} after {_TRIES} tries; run the same command again later, it goes on there.")

    def _checked(self, url: str) -> str:
        parts = urlsplit(url)
        if parts.netloc.lower() not in self._hosts:
            raise UserError(f"{parts.netloc or url}: the config does not name this host, so nothing is sent there.")
        if parts.scheme != "https" and not exchange.is_this_machine(parts.hostname or ""):
            raise UserError(f"{parts.netloc}: the address must begin with https://, as keys are sent there.")
        return parts.netloc


def _exchanged(request: urllib.request.Request) -> Response:
    with exchange.opener(request.full_url).open(request, timeout=_SECONDS) as response:
        content = response.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise UserError(f"{request.host}: a response is larger than {_LARGEST >> 20} MB; check the address.")
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status, headers, content)


def _asked(value: str) -> float | None:
    """The seconds that ``Retry-After`` asks for, a number or a date; None where it says nothing."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
