"""One request to a service: to the named address alone, with an end to how long and how large its response may be.

The system's proxies (``HTTPS_PROXY`` and the like) are used as by other programs, but never for this very machine.
"""

from __future__ import annotations

import ipaddress
import queue
import threading
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

SECONDS = 120
LARGEST = 1 << 20
_PIECE = 1 << 16


class Refused(Exception):
    """The service answers with a status that is no success; redirects count, as they are not followed."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would carry the headers, and the key in them, to wherever it leads."""

    def redirect_request(self, *_: Any) -> None:
        """No other request; the redirect is then an error like any other status."""


def post(
    url: str, body: bytes | None, headers: dict[str, str], *, seconds: float | None = None, largest: int = LARGEST
) -> bytes:
    """What the service at ``url`` answers, at most ``largest`` bytes, after at most ``seconds`` (None: ``SECONDS``);
    without a body it is asked by GET.

    Raises:
        Refused: it answers with another status than success.
        OSError: it cannot be reached, or takes too long (TimeoutError).
        ValueError: the URL or a header cannot be sent, or the response is too large.
        http.client.HTTPException: the response is no HTTP.
    """
    seconds = SECONDS if seconds is None else seconds
    request = urllib.request.Request(url, body, headers)
    ended: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
    deadline = time.monotonic() + seconds

    def go() -> None:
        try:
            ended.put(_exchanged(request, deadline, seconds, largest))
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            ended.put(error)

    # A timeout of sockets counts from byte to byte: a service that sends one now and then would never end.
    threading.Thread(target=go, name="lora-trainer-endpoint", daemon=True).start()
    try:
        response = ended.get(timeout=seconds)
    except queue.Empty:
        raise _too_slow(seconds) from None
    if isinstance(response, Exception):
        raise response
    return response


def _exchanged(request: urllib.request.Request, deadline: float, seconds: float, largest: int) -> bytes:
    try:
        with opener(request.full_url).open(request, timeout=seconds) as response:
            return _read(response, deadline, seconds, largest)
    except urllib.error.HTTPError as error:
        error.close()
        raise Refused(error.code) from None


def opener(url: str) -> urllib.request.OpenerDirector:
    """What opens requests to ``url``: it follows no redirect, and uses no proxy for this very machine."""
    direct = [urllib.request.ProxyHandler({})] if is_this_machine(urlsplit(url).hostname or "") else []
    return urllib.request.build_opener(_Stay, *direct)


def is_this_machine(host: str) -> bool:
    """Whether a host's name or address is that of the machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _too_slow(seconds: float) -> TimeoutError:
    return TimeoutError(f"no whole response within {seconds:g} seconds")


def _read(response: Any, deadline: float, seconds: float, largest: int) -> bytes:
    read = b""
    while piece := response.read1(_PIECE):
        read += piece
        if len(read) > largest:
            raise ValueError(f"it is larger than {largest >> 20} MB")
        if time.monotonic() > deadline:
            raise _too_slow(seconds)
    return read
