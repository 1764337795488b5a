"""Routes of events: what happens to a job, or to all of them, as server-sent events."""

from __future__ import annotations

import heapq
import itertools
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from .. import json_text
from ..errors import NotFound
from ..jobs import event_log
from ..library.job import ENDED, Change
from ..time_text import iso
from . import language
from .errors import Problem
from .feed import Subscription
from .service import Service

_TAGS = ["events"]
_HEARTBEAT_SECONDS = 15.0
_LOOK_SECONDS = 1.0
# A client that vanished without a word, behind some proxies, would hold its stream for ever; others continue at once.
_LONGEST_SECONDS = 3600.0
# Of each source in one look, so that a long history is not held in memory as a whole.
_AT_ONCE = 500
_POSITION = re.compile(r"(\d{1,15})(?:-(\d{1,15}))?")
_LAST = Query("", max_length=40, description="As the header Last-Event-ID: the id of the last event received.")
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}


@dataclass(frozen=True)
class Position:
    """How far a stream is: the number of the last change, the offset in the job's file of events."""

    seq: int = 0
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.seq}-{self.offset}"

    @classmethod
    def of(cls, text: str) -> Position:
        """Read it back.

        Raises:
            Problem: it is none.
        """
        match = _POSITION.fullmatch(text)
        if match is None:
            detail = f"Last-Event-ID: {text[:40]!r} is no id of an event; leave it out to begin at the start."
            raise Problem("bad_request", detail, field="Last-Event-ID")
        return cls(int(match[1]), int(match[2] or 0))


@dataclass(frozen=True)
class Look:
    """What is new since a position: events with the position behind each; ``more``: it is not all; ``over``: nothing
    will follow."""

    events: list[tuple[Position, str, dict[str, Any]]]
    more: bool
    over: bool


def add(router: APIRouter, service: Service) -> None:
    """Add the routes."""

    @router.get("/jobs/{id}/events", tags=_TAGS, summary="Follow a job", response_class=Response, responses=_STREAM)
    async def follow_job(id: str, request: Request, last_event_id: str = _LAST) -> Response:
        """Changes of its state (`event: state`) and what it reports (`start`, `step`, `preview`, `checkpoint` and so
        on), from the beginning or from `Last-Event-ID` on. It ends when the job has ended; 204 where nothing is
        left, which tells an EventSource to stop."""
        start = _start(request, last_event_id) or Position()
        first = await service.threads.run(_look_at_job, service, id, start)
        if first.over and not first.events:
            return Response(status_code=204)
        return _stream(service, request, id, start, lambda position: _look_at_job(service, id, position))

    @router.get("/events", tags=_TAGS, summary="Follow all jobs", response_class=Response, responses=_STREAM)
    async def follow_all(request: Request, last_event_id: str = _LAST) -> Response:
        """Changes of the state of every job, from now on, or from `Last-Event-ID` on (0: all that is known)."""
        start = _start(request, last_event_id)
        if start is None:
            start = Position(await service.threads.run(service.queue.newest_change))
        return _stream(service, request, "", start, lambda position: _look_at_all(service, position))


def _start(request: Request, query: str) -> Position | None:
    text = request.headers.get("last-event-id") or query
    return Position.of(text) if text else None


def _stream(
    service: Service, request: Request, job: str, start: Position, look: Callable[[Position], Look]
) -> Response:
    service.feed.require_room()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(
        _follow(service, request, job, start, look), headers=headers, media_type="text/event-stream"
    )


async def _follow(
    service: Service, request: Request, job: str, position: Position, look: Callable[[Position], Look]
) -> AsyncIterator[str]:
    until, wanted = time.monotonic() + _LONGEST_SECONDS, language.of(request)
    with service.feed.subscribe(job) as subscription:
        # At once, so that the client knows that it is connected.
        yield ": connected\n\n"
        while not subscription.closed and time.monotonic() < until:
            found = await service.threads.run(look, position)
            for position, kind, data in found.events:
                text = json_text.dumps(language.translated(data, wanted))
                yield f"id: {position}\nevent: {kind}\ndata: {text}\n\n"
            if found.over and not found.more:
                return
            if not found.more and not await _news(service, request, subscription):
                if subscription.closed or service.server_ends(request) or await request.is_disconnected():
                    return
                yield ": heartbeat\n\n"


async def _news(service: Service, request: Request, subscription: Subscription) -> bool:
    """Wait for news; False when it is time for a heartbeat, or the stream is to end."""
    until = time.monotonic() + _HEARTBEAT_SECONDS
    while (left := until - time.monotonic()) > 0 and not service.server_ends(request):
        if await subscription.wait(min(left, _LOOK_SECONDS)):
            return True
    return False


def _look_at_job(service: Service, id: str, start: Position) -> Look:
    """What is new of a job. A removed one is over.

    Raises:
        NotFound: there is none, and the stream has not begun.
    """
    queue = service.queue
    try:
        # Before its events: what a job has written is complete when the library says that it has ended.
        with service.database.reading():
            job = queue.get(id)
            changes = queue.changes(id, start.seq, _AT_ONCE)
    except NotFound:
        if start == Position():
            raise
        return Look([], more=False, over=True)
    path = event_log.folder(service.database.folder, id) / event_log.NAME
    lines = list(itertools.islice(event_log.read(path, start.offset), _AT_ONCE))
    position, events, last = start, [], {"changes": 0, "lines": 0}
    # Each source keeps its order, whatever the clock did.
    sources: list[Sequence[Change | event_log.Line]] = [lines, changes]
    for one in heapq.merge(*sources, key=_time):
        if isinstance(one, Change):
            position = replace(position, seq=one.seq)
            events.append((position, "state", _change(one)))
            last["changes"] = len(events)
        else:
            position = replace(position, offset=one.end)
            events.append((position, str(one.event.get("event", "event")), one.event))
            last["lines"] = len(events)
    # What follows the last one of a source that has more may come after what is still missing.
    cuts = [last[name] for name, found in (("changes", changes), ("lines", lines)) if len(found) == _AT_ONCE]
    return Look(events[: min(cuts, default=len(events))], more=bool(cuts), over=job.ended)


def _look_at_all(service: Service, start: Position) -> Look:
    changes = service.queue.changes(after=start.seq, limit=_AT_ONCE)
    events = [(Position(one.seq), "state", _change(one)) for one in changes]
    return Look(events, more=len(changes) == _AT_ONCE, over=False)


def _time(one: Change | event_log.Line) -> tuple[float, int]:
    """When it happened, to the millisecond; in the same one a job begins before its events and ends after them."""
    if isinstance(one, Change):
        return round(one.at, 3), 2 if one.state in ENDED else 0
    return float(one.event.get("time", 0)), 1


def _change(change: Change) -> dict[str, Any]:
    return {"seq": change.seq, "job": change.job, "at": iso(change.at), "state": change.state, "reason": change.reason}
