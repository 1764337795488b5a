"""How much and how often: sizes of requests, requests a second, open streams."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from .errors import Problem


@dataclass(frozen=True)
class Limits:
    """What the routes accept.

    Attributes:
        json_bytes: of a body.
        reads, writes: requests a second of one caller, on the average.
        read_burst, write_burst: requests at once.
        logins: keys that may be tried a second from one address, on the average.
        login_burst: keys at once.
        streams: event streams at a time.
        page: items of a list.
        batch: jobs in one request.
    """

    json_bytes: int = 2**20
    reads: float = 2000.0
    read_burst: float = 4000.0
    writes: float = 50.0
    write_burst: float = 1000.0
    logins: float = 0.2
    login_burst: float = 10.0
    streams: int = 200
    page: int = 1000
    batch: int = 1000


class RateLimit:
    """A bucket of tokens for each caller; the longest unused ones are forgotten."""

    _REMEMBERED = 4096

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``rate`` in requests a second, ``burst`` in requests; ``clock`` in seconds."""
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, caller: str) -> None:
        """Count a request.

        Raises:
            Problem: it is one too many.
        """
        now = self._clock()
        with self._lock:
            left, since = self._buckets.pop(caller, (self._burst, now))
            left = min(self._burst, left + (now - since) * self._rate)
            self._buckets[caller] = (left - 1 if left >= 1 else left, now)
            if len(self._buckets) > self._REMEMBERED:
                self._buckets.popitem(last=False)
        if left < 1:
            seconds = math.ceil((1 - left) / self._rate)
            text = f"There are more than {self._rate:g} requests a second; wait {seconds} s, then go on more slowly."
            raise Problem("too_many_requests", text, headers={"Retry-After": str(seconds)})
