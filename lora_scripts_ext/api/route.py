"""What all routes have in common: access, limits, idempotency, errors, and plain functions in threads of our own.

All of it is in the class of the routes, so that in a WebUI's application nothing else changes its behaviour.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from .. import json_text
from . import idempotency, language
from .access import NOBODY, READING, Access, Caller, note_caller, require_scope
from .errors import Problem, problem
from .idempotency import Answer
from .threads import Threads

if TYPE_CHECKING:
    from .service import Service

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def reads_body_itself(endpoint: Endpoint) -> Endpoint:
    """Mark an ``async`` endpoint that reads ``request.stream()``, with its own limit on the size."""
    endpoint.reads_body_itself = True  # type: ignore[attr-defined]
    return endpoint


def reads_files(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint that reads many files: it runs in other threads than those that are asked for the library."""
    endpoint.reads_files = True  # type: ignore[attr-defined]
    return endpoint


def without_key(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint that also those may ask who have not handed in a key yet, or one that may only read."""
    endpoint.without_key = True  # type: ignore[attr-defined]
    return endpoint


def holds_secret(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint whose requests or answers hold a key: nothing of them is kept for an ``Idempotency-Key``."""
    endpoint.holds_secret = True  # type: ignore[attr-defined]
    return endpoint


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """``value`` as JSON; not kept by caches unless ``headers`` say so."""
    return json_body(json_text.dumps(value).encode(), status, headers)


def json_body(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """What is JSON already as the answer."""
    return Response(body, status, {**_HEADERS, **(headers or {})}, media_type="application/json")


def route_class(service: Service, access: Access) -> type[APIRoute]:
    """The class of the routes of ``service``, which ``access`` guards."""

    class Route(APIRoute):
        def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
            self._reads_body_itself = getattr(endpoint, "reads_body_itself", False)
            self._without_key = getattr(endpoint, "without_key", False)
            self._holds_secret = getattr(endpoint, "holds_secret", False)
            if not inspect.iscoroutinefunction(endpoint):
                threads = service.file_threads if getattr(endpoint, "reads_files", False) else service.threads
                endpoint = _in_thread(threads, endpoint, options.get("status_code") or 200)
            super().__init__(path, endpoint, **options)

        def get_route_handler(self) -> Handler:
            inner = super().get_route_handler()

            async def answered(request: Request) -> Response:
                try:
                    caller = await _let_in(service, access, request, self._without_key)
                    if not self._reads_body_itself:
                        await _read_body(service, request, bool(self.body_field))
                    if self._holds_secret:
                        return await inner(request)
                    return await _once(service, caller, request, inner)
                except Exception as error:  # noqa: BLE001 - the last place where a crash can become an answer
                    return (await service.threads.run(problem, error, service.database.folder)).response()

            async def handle(request: Request) -> Response:
                response, wanted = await answered(request), language.of(request)
                if wanted == "en":
                    return language.answer(response, wanted)
                # A long list takes a moment.
                return await service.threads.run(language.answer, response, wanted)

            return handle

    return Route


def _in_thread(threads: Threads, function: Callable[..., Any], status: int) -> Callable[..., Awaitable[Response]]:
    """A plain function as the coroutine that runs it in a thread, where its result also becomes JSON."""

    def respond(arguments: dict[str, Any]) -> Response:
        result = function(**arguments)
        return result if isinstance(result, Response) else json_response(result, status)

    async def endpoint(**arguments: Any) -> Response:
        return await threads.run(respond, arguments)

    # FastAPI would look for the names of string annotations in this module.
    hints = typing.get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    parameters = [one.replace(annotation=hints.get(one.name, one.annotation)) for one in signature.parameters.values()]
    endpoint.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=parameters, return_annotation=hints.get("return", inspect.Signature.empty)
    )
    endpoint.__name__, endpoint.__doc__, endpoint.__module__ = function.__name__, function.__doc__, function.__module__
    # The marks as well: an application that includes a router makes its routes again, of their endpoints.
    vars(endpoint).update(vars(function))
    return endpoint


async def _let_in(service: Service, access: Access, request: Request, without_key: bool) -> Caller:
    address = request.client.host if request.client else ""
    rate = service.reads if request.method in READING else service.writes
    # Before the key is looked at, so that keys cannot be tried one after the other.
    rate.take(address)
    try:
        caller = await access(request)
    except Problem as refusal:
        if not without_key or refusal.code != "unauthorized":
            raise
        caller = NOBODY
    if not without_key:
        require_scope(request, caller)
    note_caller(request, caller)
    return caller


async def _read_body(service: Service, request: Request, is_json: bool) -> None:
    """Read the body, up to the limit; ``request.body()`` then has it.

    Raises:
        Problem: it is too large, or no JSON where JSON is expected.
    """
    if request.method in READING:
        return
    most = service.limits.json_bytes
    body = bytearray()
    if _length(request) <= most:
        async for block in request.stream():
            body += block
            if len(body) > most:
                break
    if len(body) > most or _length(request) > most:
        raise Problem(
            "too_large",
            f"The body is larger than {most // 1024} KiB; send less at once.",
            headers={"Connection": "close"},
        )
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and is_json and media_type != "application/json" and not media_type.endswith("+json"):
        raise Problem("wrong_media_type", "The body must be JSON; send it with Content-Type: application/json.")
    request._body = bytes(body)


def _length(request: Request) -> int:
    """What the request says of its size; 0 where it says nothing."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


async def _once(service: Service, caller: Caller, request: Request, inner: Handler) -> Response:
    """The answer of ``inner``, or the one that it gave to the same request with the same ``Idempotency-Key``."""
    key = request.headers.get("idempotency-key")
    if key is None or request.method != "POST":
        return await inner(request)
    threads, requests = service.threads, service.requests
    path = f"{request.url.path}?{request.url.query}"
    digest = idempotency.digest(request.method, path, await request.body())
    begun = await threads.run(requests.begin, idempotency.check(key), caller.id, digest)
    if isinstance(begun, Answer):
        return _again(begun)
    requests.enter(begun)
    answer = None
    try:
        response = await inner(request)
        if response.status_code < 300:
            body = bytes(response.body).decode()
            answer = Answer(response.status_code, body, response.headers.get("location", ""))
        return response
    finally:
        await threads.run(requests.end, begun, answer)


def _again(answer: Answer) -> Response:
    headers = {"Idempotency-Replayed": "true", **({"Location": answer.location} if answer.location else {})}
    return json_body(answer.body.encode(), answer.status, headers)
