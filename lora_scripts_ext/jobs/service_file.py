"""``DATA_DIR/service.yaml``: what only the operator of the service may set, and no request can change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from .. import config_file
from ..config_check import shown
from ..errors import UserError
from ..library import hour
from ..library.job import ENDED
from ..library.reviews import VERDICTS
from ..marks.c2pa import ALGORITHMS, Credentials
from .kinds.options import option, read

NAME = "service.yaml"
_KEYS = ("fetch", "webhooks", "endpoints", "credentials")
_EVENTS = ("starting", "running", "queued", *ENDED)
#: what people do, beside the states of jobs
DECISIONS = (
    *(f"review.{verdict}" for verdict in VERDICTS),
    "published",
    "rolled_back",
    "candidate_decided",
    "catalogue_exported",
)
_LONGEST_NAME = 64
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Fetch:
    """A program that brings new images, run at its hour; no shell takes part.

    Attributes:
        command: the program and its arguments.
        hour: ``HH:MM``.
        timeout_minutes: after which it is ended, with everything it has started.
    """

    command: tuple[str, ...]
    hour: str
    timeout_minutes: float


@dataclass(frozen=True)
class Webhook:
    """An address that receives what becomes of jobs.

    Attributes:
        secret: signs what is sent; empty where ``secret_from``, the name of an environment variable, holds it.
        events: the states of jobs, and what people do (``DECISIONS``), that are sent.
    """

    url: str
    secret: str
    secret_from: str
    events: tuple[str, ...]


@dataclass(frozen=True)
class Endpoint:
    """A captioning service that images may be sent to.

    Attributes:
        key_from: environment variable that holds its key; empty where it needs none.
    """

    url: str
    key_from: str


@dataclass(frozen=True)
class ServiceFile:
    """The file's entries by their names.

    Attributes:
        credentials: sign finished images; None where they are not signed.
    """

    fetch: dict[str, Fetch] = field(default_factory=dict)
    webhooks: dict[str, Webhook] = field(default_factory=dict)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    credentials: Credentials | None = None


def endpoint(data_dir: Path, name: str) -> dict[str, str]:
    """The address of a service in the file of ``data_dir`` and where its key is, as jobs name them.

    Raises:
        UserError: there is no service of this name, or the file is wrong.
    """
    found = load(data_dir).endpoints.get(name)
    if found is None:
        raise UserError(f"service: {name[:80]} is none of the endpoints in service.yaml; GET /settings lists them.")
    return {"endpoint": found.url, "key_from": found.key_from}


def load(data_dir: Path) -> ServiceFile:
    """Read the file; without one there are no entries.

    Raises:
        UserError: it cannot be read, or says something that is not understood.
    """
    path = data_dir / NAME
    if not path.exists():
        return ServiceFile()
    values = config_file.read(path)
    if unknown := [key for key in values if key not in _KEYS]:
        raise UserError(f"{path}: unknown key {shown(unknown[0])}; the keys are {', '.join(_KEYS)}.")
    return ServiceFile(
        _entries(path, values, "fetch", _fetch),
        _entries(path, values, "webhooks", _webhook),
        _entries(path, values, "endpoints", _endpoint),
        _credentials(path, values.get("credentials")),
    )


@dataclass(frozen=True)
class _FetchOptions:
    command: list[str] = option([], "The program and its arguments, each an item of a list.")
    hour: str = option("01:00", "Time of day.")
    timeout_minutes: float = option(60.0, "Minutes after which it is ended.", low=0.01, high=24 * 60)


@dataclass(frozen=True)
class _WebhookOptions:
    url: str = option("", "Address that receives what becomes of jobs.")
    secret: str = option("", "What signs the messages.")
    secret_from: str = option("", "Environment variable that holds the secret.")
    events: list[str] = option(["done", "failed"], "States of jobs, and what people do, that are sent.")


@dataclass(frozen=True)
class _EndpointOptions:
    url: str = option("", "Address of an OpenAI-compatible service that images may be sent to.")
    key_from: str = option("", "Environment variable that holds its key.")


@dataclass(frozen=True)
class _CredentialsOptions:
    certificate: str = option("", "PEM file with the certificate and those that it was issued by.")
    key: str = option("", "PEM file with its private key.")
    algorithm: str = option("es256", "That of the key.")
    timestamp_url: str = option("", "Address of a time-stamping service.")


def _entries(
    path: Path, values: dict[str, Any], key: str, make: Callable[[dict[str, Any], str], Entry]
) -> dict[str, Entry]:
    named = values.get(key)
    if named is None:
        return {}
    if not isinstance(named, dict):
        raise UserError(f"{path}: {key} is {shown(named)}; write a name below it, and the entry's keys below that.")
    entries = {}
    for name, entry in named.items():
        where = f"{path}: {key}: {name}"
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise UserError(f"{path}: {key}: the name {shown(name)} is too long or not printable; choose another.")
        if not isinstance(entry, dict):
            raise UserError(f"{where} is {shown(entry)}; write its keys below the name.")
        entries[name] = make(entry, where)
    return entries


def _fetch(entry: dict[str, Any], where: str) -> Fetch:
    # One text would have to be taken apart as a shell does.
    if not isinstance(entry.get("command"), list):
        raise UserError(f"{where}: command must be a list such as [python, /srv/fetch_cars.py]; no shell reads it.")
    options = read(_FetchOptions, entry, where, required=("command",))
    if not options.command[0]:
        raise UserError(f"{where}: command begins with an empty text; name the program.")
    return Fetch(tuple(options.command), hour.tidy(options.hour, f"{where}: hour"), options.timeout_minutes)


def _webhook(entry: dict[str, Any], where: str) -> Webhook:
    options = read(_WebhookOptions, entry, where, required=("url",))
    _check_url(options.url, where)
    if bool(options.secret) == bool(options.secret_from):
        raise UserError(f"{where}: give either secret or secret_from, the environment variable that holds it.")
    known = (*_EVENTS, *DECISIONS)
    if wrong := [event for event in options.events if event not in known]:
        raise UserError(f"{where}: events has {shown(wrong[0])}; the events are {', '.join(known)}.")
    return Webhook(options.url, options.secret, options.secret_from, tuple(options.events))


def _endpoint(entry: dict[str, Any], where: str) -> Endpoint:
    options = read(_EndpointOptions, entry, where, required=("url",))
    _check_url(options.url, where)
    return Endpoint(options.url, options.key_from)


def _credentials(path: Path, values: Any) -> Credentials | None:
    if values is None:
        return None
    where = f"{path}: credentials"
    if not isinstance(values, dict):
        raise UserError(f"{where} is {shown(values)}; write its keys below the name.")
    options = read(_CredentialsOptions, values, where, required=("certificate", "key"))
    if options.algorithm not in ALGORITHMS:
        raise UserError(f"{where}: algorithm is {shown(options.algorithm)}; take one of {', '.join(ALGORITHMS)}.")
    if options.timestamp_url:
        _check_url(options.timestamp_url, where)
    # A path in the file is relative to it, wherever the server was started.
    certificate, key = (path.parent / Path(one).expanduser() for one in (options.certificate, options.key))
    return Credentials(certificate, key, options.algorithm, options.timestamp_url)


def _check_url(url: str, where: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid:
        raise UserError(f"{where}: url is {shown(url)}; write a whole address such as https://example.com/hook.")
