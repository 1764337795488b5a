"""Errors as problem JSON (RFC 9457), each with a code that stays, the field it is about, and what to do."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from .. import crash, json_text
from ..errors import Conflict, NotFound, Refused, TrainingError, UserError
from ..jobs.perform import is_full
from ..library.uploads import TooLarge

MEDIA_TYPE = "application/problem+json"

#: code -> HTTP status, what to do where the sentence itself does not say it
CODES: dict[str, tuple[int, str]] = {
    "invalid": (422, "Correct the field, then send the request again; GET /config/schema lists the keys of a config."),
    "bad_json": (400, "Send one JSON object in UTF-8."),
    "bad_request": (400, "Correct the request; docs/api.md shows how each one looks."),
    "unauthorized": (401, "Send a key: Authorization: Bearer KEY."),
    "forbidden": (403, "Use a key or a path that has the right to do this."),
    "not_found": (404, "Check the id or path; the lists show what there is."),
    "no_such_route": (404, "Check the address; GET /lora-trainer/v1/openapi.json lists them all."),
    "method_not_allowed": (405, "Use one of the methods in the Allow header."),
    "conflict": (409, "Look at its state, which may have changed, and decide again."),
    "request_in_progress": (409, "Send it again in a second."),
    "too_large": (413, "Send less at once."),
    "wrong_media_type": (415, "Send JSON with the header Content-Type: application/json."),
    "key_reused": (422, "Use a new Idempotency-Key for another request."),
    "too_many_requests": (429, "Wait as long as the Retry-After header says."),
    "unexpected": (500, "Report it with the details that lie in the server's data folder, in crash.log."),
    "too_many_streams": (503, "Close other event streams, or poll."),
    "busy": (503, "Send it again after a while; check the free space of the disk."),
}
_STATUS_CODES = {
    400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
    409: "conflict", 413: "too_large", 415: "wrong_media_type", 422: "invalid", 429: "too_many_requests", 503: "busy",
}  # fmt: skip
# How our sentences name a key: "config: lora_rank is 0, ...", "config: unknown key foo; ...", "window: ...".
_IN_CONFIG = re.compile(r"config: (?:unknown key )?'?(\w+)'?(?: (?:is|holds|are)\b|;)")
_AT_START = re.compile(r"([a-z_]+): ")


class Problem(Exception):
    """An answer other than success."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        remedy: str = "",
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Create it.

        Args:
            code: one of ``CODES``.
            detail: what is wrong, in a sentence.
            field: the field of the request or the key of the config, dotted.
            remedy: what to do; empty takes what follows the last semicolon of ``detail``, else the code's.
            headers: of the answer.
            more: further members.
        """
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.field = field
        self.remedy = remedy or _remedy(code, detail)
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    @property
    def status(self) -> int:
        """The HTTP status."""
        return CODES[self.code][0]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "type": f"urn:lora-trainer:error:{self.code}", "title": HTTPStatus(self.status).phrase,
            "status": self.status, "detail": self.detail, "code": self.code, "field": self.field,
            "remedy": self.remedy, **self.more,
        }  # fmt: skip

    def response(self) -> Response:
        """The answer."""
        body = json_text.dumps(self.to_dict()).encode()
        headers = {"Cache-Control": "no-store", **self.headers}
        return Response(body, self.status, headers, media_type=MEDIA_TYPE)


def problem(error: Exception, folder: Path) -> Problem:
    """The answer for ``error``; the traceback of an unexpected one goes to ``folder``/crash.log."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, UserError | TrainingError):
        return _of_ours(error)
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, HTTPException):
        if error.status_code == 400 and "parsing the body" in str(error.detail):
            return Problem("bad_json", "The body is no JSON in UTF-8, or is nested too deeply.")
        code = _STATUS_CODES.get(error.status_code, "bad_request" if error.status_code < 500 else "unexpected")
        headers = {**(error.headers or {})}
        return Problem(code, str(error.detail), headers=headers)
    if isinstance(error, UnicodeError | OverflowError):
        return Problem("invalid", "A value is no text that can be kept, or a number that is too large.")
    if isinstance(error, RecursionError):
        return Problem("bad_json", "The JSON is nested too deeply.")
    if is_full(error):
        return Problem("busy", "The server's disk is full; free some space there.", headers={"Retry-After": "60"})
    if isinstance(error, sqlite3.OperationalError):
        text = "The library cannot be read or written for the moment."
        return Problem("busy", text, headers={"Retry-After": "5"})
    try:
        # It was caught in another thread.
        raise error
    except Exception:  # noqa: BLE001 - only to be written down
        crash.write(folder)
    # Its own text may hold anything, such as a path or a part of a request.
    return Problem("unexpected", f"The server ran into an error of its own ({type(error).__name__}).")


def field_of(sentence: str) -> str | None:
    """The field that one of our sentences is about."""
    if match := _IN_CONFIG.match(sentence):
        return f"config.{match[1]}"
    match = _AT_START.match(sentence)
    return match[1] if match else None


def _of_ours(error: Exception) -> Problem:
    text = str(error)
    code = "invalid"
    for kind, name in (
        (NotFound, "not_found"), (Conflict, "conflict"), (Refused, "forbidden"), (TooLarge, "too_large"),
    ):  # fmt: skip
        if isinstance(error, kind):
            code = name
    return Problem(code, text, field=getattr(error, "field", "") or field_of(text))


def _of_validation(error: RequestValidationError) -> Problem:
    """The first of the errors that a request's fields have; all are in the member ``errors``."""
    errors = [{"field": _dotted(one["loc"]), "detail": _sentence(one)} for one in error.errors()]
    kinds = {str(one["type"]) for one in error.errors()}
    if kinds & {"json_invalid", "value_error.jsondecode"}:
        return Problem("bad_json", "The body is no JSON.")
    first = errors[0]
    return Problem("invalid", first["detail"], field=first["field"], more={"errors": errors[:20]})


def _sentence(error: Mapping[str, Any]) -> str:
    field, kind, text = _dotted(error["loc"]), str(error["type"]), str(error["msg"])
    if "extra" in kind:
        return f"{field}: there is no such field; take it out."
    if "missing" in kind:
        return f"{field}: it is missing; add it."
    return f"{field}: {text[:1].lower()}{text[1:]}."


def _dotted(loc: tuple[Any, ...]) -> str:
    """A field's name without where it was found (body, query, path)."""
    names = [str(part) for part in loc if part != "__root__"]
    return ".".join(names[1:] or names)


def _remedy(code: str, detail: str) -> str:
    what, _, remedy = detail.rpartition("; ")
    return f"{remedy[:1].upper()}{remedy[1:]}" if what else CODES[code][1]
