"""Finished images as assets of Akeneo PIM (REST API): media files, then assets that hold them.

An asset's code is made of SKU, channel, role and position, so that a new image takes the place of an older one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

from ..errors import UserError
from . import multipart
from .client import Client, Refused, Response
from .journal import DONE, Journal
from .manifest import Image, Place
from .outcome import Outcome
from .settings import Settings

KEYS = (
    "url", "client_id_from", "secret_from", "username_from", "password_from", "asset_family", "attributes", "locales",
    "channels",
)  # fmt: skip
# Calls at once that Akeneo allows a connection, calls a second that it allows an instance, assets of a request.
_AT_ONCE, _PER_SECOND, _BATCH = 4, 90.0, 100
_UPLOADED = "uploaded"
#: what an attribute of the asset family may hold, beside the image itself and its alternative text
_VALUES = ("sku", "role", "position", "channel", "sha256", "seed", "prompt", "width", "height")
_LABEL = ("source", "produce_id")


class Akeneo:
    """A PIM and a family of its assets."""

    def __init__(self, settings: Settings) -> None:
        """Read the keys; nothing is sent yet.

        Raises:
            UserError: one is missing or wrong.
        """
        self.target = settings.url()
        self._family = settings.text("asset_family")
        self._attributes = {"media": "media", **settings.mapping("attributes")}
        known = ("media", "alt", *_VALUES, *_LABEL)
        wrong = next((name for name in self._attributes if name not in known), None)
        if wrong is not None:
            raise UserError(f"attributes: there is nothing called {wrong[:80]!r}; there are {', '.join(known)}.")
        self._locales = settings.mapping("locales")
        self._client = Client([urlsplit(self.target).netloc], _PER_SECOND)
        pair = f"{settings.secret('client_id_from')}:{settings.secret('secret_from')}"
        self._basic = base64.b64encode(pair.encode()).decode()
        self._user = {"username": settings.secret("username_from"), "password": settings.secret("password_from")}
        self._token = ""
        self._lock = threading.Lock()

    def send(self, images: Sequence[Image], journal: Journal, progress: Callable[[int, int], None]) -> Outcome:
        """Upload what is not there, then write the assets.

        Raises:
            UserError: the PIM cannot be reached, or refuses the keys.
        """
        todo = [image for image in images if journal.step(image) != DONE]
        outcome = Outcome(unchanged=len(images) - len(todo))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for number, _ in enumerate(pool.map(lambda image: self._upload(image, journal, outcome), todo), 1):
                progress(number, len(todo))
        ready = [image for image in todo if journal.step(image) == _UPLOADED]
        for begin in range(0, len(ready), _BATCH):
            self._write(ready[begin : begin + _BATCH], journal, outcome)
        return outcome

    def withdraw(self, place: Place, journal: Journal) -> None:
        """See :class:`Service`: the asset is deleted."""
        path = f"/api/rest/v1/asset-families/{quote(self._family)}/assets/{code_of(place)}"
        try:
            self._send("DELETE", path, b"", "application/json")
        except Refused as refused:
            if refused.status != 404:
                raise

    def _upload(self, image: Image, journal: Journal, outcome: Outcome) -> None:
        if journal.step(image) == _UPLOADED:
            return
        try:
            part = multipart.Part("file", image.file_name, image.content_type, image.content())
        except UserError as error:
            outcome.add_problem(str(error))
            return
        body, kind = multipart.packed({}, part)
        try:
            # Twice does no harm: a media file that no asset holds is not shown.
            response = self._send("POST", "/api/rest/v1/asset-media-files", body, kind)
        except Refused as refused:
            outcome.add_problem(
                f"{image.sku}: Akeneo refuses the file ({refused.reason}); correct that, send it again."
            )
            return
        code = response.headers.get("asset-media-file-code", "")
        if not code:
            raise UserError(f"{self.target}: the response names no media file; check that this is an Akeneo PIM.")
        journal.write(image, _UPLOADED, code=code)

    def _write(self, images: Sequence[Image], journal: Journal, outcome: Outcome) -> None:
        assets = [self._asset(image, str(journal.entry(image)["code"])) for image in images]
        path = f"/api/rest/v1/asset-families/{quote(self._family)}/assets"
        try:
            response = self._send("PATCH", path, json.dumps(assets).encode(), "application/json")
        except Refused as refused:
            raise UserError(
                f"{self.target}: Akeneo refuses assets of {self._family} ({refused}); check asset_family, attributes."
            ) from refused
        answers = response.json()
        by_code = {str(one.get("code")): one for one in answers if isinstance(one, dict)}
        for image in images:
            answer = by_code.get(code_of(image.place), {})
            if answer.get("status_code") in (201, 204):
                journal.write(image, DONE, code=journal.entry(image)["code"])
                outcome.add_sent()
            else:
                reason = str(answer.get("message") or "it says nothing of it")[:200]
                outcome.add_problem(
                    f"{image.sku}: Akeneo refuses the asset ({reason}); check asset_family, attributes."
                )

    def _asset(self, image: Image, media: str) -> dict[str, Any]:
        label = image.values.get("label") or {}
        found = {name: image.values.get(name) for name in _VALUES} | {name: label.get(name) for name in _LABEL}
        found |= {"media": media}
        values: dict[str, list[dict[str, Any]]] = {
            attribute: [{"locale": None, "channel": None, "data": str(found[name])}]
            for name, attribute in self._attributes.items()
            if name != "alt" and found.get(name) not in (None, "")
        }
        if "alt" in self._attributes:
            values[self._attributes["alt"]] = [
                {"locale": self._locales.get(locale, locale), "channel": None, "data": text}
                for locale, text in image.alt.items()
                if text
            ]
        return {"code": code_of(image.place), "values": values}

    def _send(self, method: str, path: str, body: bytes, kind: str) -> Response:
        token = self._token or self._renewed("")
        for is_last in (False, True):
            headers = {"Authorization": f"Bearer {token}", "Content-Type": kind, "Accept": "application/json"}
            try:
                return self._client.send(method, self.target + path, body, headers)
            except Refused as refused:
                if refused.status == 403 or (refused.status == 401 and is_last):
                    raise UserError(
                        f"{self.target} answers {refused.status}; check the keys and what the connection may do."
                    ) from refused
                if refused.status != 401:
                    raise
            # A token ends after an hour.
            token = self._renewed(token)
        raise AssertionError("the loop ends by itself")

    def _renewed(self, old: str) -> str:
        with self._lock:
            if self._token == old:
                body = json.dumps({"grant_type": "password", **self._user}).encode()
                headers = {"Authorization": f"Basic {self._basic}", "Content-Type": "application/json"}
                try:
                    response = self._client.send("POST", f"{self.target}/api/oauth/v1/token", body, headers)
                except Refused as refused:
                    raise UserError(
                        f"{self.target} answers {refused.status} to the keys; check the four environment variables."
                    ) from refused
                self._token = str(response.json()["access_token"])
            return self._token


def code_of(place: Place) -> str:
    """An asset's code: letters, digits and underscores, at most 255 of them."""
    plain = re.sub("[^0-9A-Za-z]+", "_", f"{place.sku}_{place.channel}_{place.role}_{place.position}").strip("_")
    return f"{plain[:200]}_{hashlib.sha256(place.key.encode()).hexdigest()[:8]}"
