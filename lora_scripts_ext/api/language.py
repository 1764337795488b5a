"""The language of answers: English, or Chinese where a request prefers it.

The code says everything in English; here, at the edge, what people read in an answer is looked up among the
translated sentences.
Names, captions, paths, configs and whatever else users have written stay as they are.
"""

from __future__ import annotations

import functools
import json
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from .. import json_text
from .sentences import chinese

Language = Literal["en", "zh"]
# The members of answers and events that are sentences or labels, or lists of them.
_SAID = frozenset([
    "advice", "choice_labels", "detail", "error", "group", "groups", "help", "label", "needs", "notes", "outcome",
    "problem", "question", "reason", "refused", "remedy", "sentence", "status", "text", "title", "undoable",
    "waits_for", "warnings", "what", "where",
])  # fmt: skip
# What users have written, and what programs read.
_KEPT = frozenset(["config", "caption", "fields", "words", "values"])
_TYPES = ("application/json", "application/problem+json")
# A page asks for the same again and again; larger answers are rarer.
_LARGEST = 1 << 17


def of(request: Request) -> Language:
    """What a request prefers: its query ``lang``, which an EventSource can send, before ``Accept-Language``."""
    asked = request.query_params.get("lang")
    if asked is not None:
        return _named(asked) or "en"
    best: tuple[float, Language] = (0.0, "en")
    for part in request.headers.get("accept-language", "")[:500].split(","):
        name, _, options = part.partition(";")
        language = _named(name)
        weight = _weight(options)
        if language is not None and weight > best[0]:
            best = (weight, language)
    return best[1]


def _named(tag: str) -> Language | None:
    primary = tag.strip().lower().replace("_", "-").partition("-")[0]
    return "zh" if primary == "zh" else "en" if primary == "en" else None


def _weight(options: str) -> float:
    name, _, number = options.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(number)
    except ValueError:
        return 0.0


def translated(value: Any, language: Language) -> Any:
    """An answer or event, before it becomes JSON, in ``language``; ``value`` itself is not changed."""
    return value if language == "en" else _walked(value)


def answer(response: Response, language: Language) -> Response:
    """``response`` in ``language`` where it is JSON of ours; else as it is."""
    media_type = response.headers.get("content-type", "").partition(";")[0]
    body = getattr(response, "body", None)
    if media_type not in _TYPES or body is None:
        return response
    response.headers["Vary"] = "Accept-Language"
    if language == "en" or not body:
        return response
    response.body = _small(bytes(body)) if len(body) <= _LARGEST else _body(bytes(body))
    response.headers["Content-Length"] = str(len(response.body))
    return response


def _body(body: bytes) -> bytes:
    return json_text.dumps(_walked(json.loads(body))).encode()


_small = functools.lru_cache(64)(_body)


def _walked(value: Any) -> Any:
    if isinstance(value, list):
        return [_walked(item) for item in value]
    if not isinstance(value, dict):
        return value
    walked = {name: inner if name in _KEPT else _member(name, inner) for name, inner in value.items()}
    if isinstance(value.get("detail"), str) and isinstance(value.get("remedy"), str):
        walked["remedy"] = _remedy(value["detail"], value["remedy"])
    return walked


def _member(name: str, value: Any) -> Any:
    if name not in _SAID:
        return _walked(value)
    if isinstance(value, str):
        return said(value)
    if isinstance(value, list):
        return [said(item) if isinstance(item, str) else _walked(item) for item in value]
    return _walked(value)


def said(sentence: str) -> str:
    """A sentence, or several, in Chinese; what is not known stays English."""
    translated = chinese()
    found = translated.of(sentence)
    if found is not None or ". " not in sentence:
        return sentence if found is None else found
    parts = [f"{part}." for part in sentence.removesuffix(".").split(". ")]
    several = [part for part in map(translated.of, parts) if part is not None]
    return "".join(several) if len(several) == len(parts) else sentence


def _remedy(detail: str, remedy: str) -> str:
    """What to do: most details end with it, behind the last semicolon."""
    what, _, last = detail.rpartition("; ")
    chinese_detail = said(detail)
    if what and last[:1].upper() + last[1:] == remedy and chinese_detail != detail and "；" in chinese_detail:
        return chinese_detail.rpartition("；")[2]
    return said(remedy)
