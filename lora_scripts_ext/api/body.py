"""Bodies that are files: written as they come, never held in memory, and never on the event loop."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from ..library.uploads import Part
from .errors import Problem
from .threads import Threads

_BLOCK = 1 << 20


def announced(request: Request) -> int:
    """The size that the request says its body has, in bytes.

    Raises:
        Problem: it says nothing.
    """
    text = request.headers.get("content-length", "")
    if not (text.isascii() and text.isdigit()):
        raise Problem("bad_request", "The size of the body is not known; send it with Content-Length, as curl -T does.")
    return int(text)


async def receive(threads: Threads, request: Request, part: Part) -> None:
    """Write the body into ``part``; what has come is in the file on every way out.

    Raises:
        TooLarge: it has more bytes than were announced.
        Problem: the connection has ended before the body.
    """
    block = bytearray()
    try:
        async for chunk in request.stream():
            block += chunk
            if len(block) >= _BLOCK:
                full, block = block, bytearray()
                await threads.run(part.write, bytes(full))
    except ClientDisconnect as error:
        # Nobody reads it.
        raise Problem("bad_request", "The connection has ended; go on where GET says.") from error
    finally:
        if block:
            await threads.run(part.write, bytes(block))
