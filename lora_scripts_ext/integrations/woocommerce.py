"""Finished images in WooCommerce: first into WordPress's media library, then, by their ids, to the product.

A product that is given an address (``src``) would load the file again at every change, and the library would fill with
copies.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from ..errors import UserError
from . import multipart
from .client import Client, Refused, Response, Unsure
from .journal import DONE, WITHDRAWN, Journal
from .manifest import Image, Place
from .outcome import Outcome
from .settings import Settings

KEYS = ("url", "username_from", "password_from", "key_from", "secret_from", "language", "channels")
_MEDIA = "/wp-json/wp/v2/media"
_PRODUCTS = "/wp-json/wc/v3/products"
_STARTED, _UPLOADED = "started", "uploaded"
_PER_SECOND = 10.0
_TRIES = 3


class WooCommerce:
    """A shop."""

    def __init__(self, settings: Settings) -> None:
        """Read the keys; nothing is sent yet.

        Raises:
            UserError: one is missing or wrong.
        """
        self.target = settings.url()
        self._language = settings.text("language", "en")
        self._client = Client([urlsplit(self.target).netloc], _PER_SECOND)
        # The library belongs to WordPress, the products to WooCommerce; each has keys of its own.
        self._library = _basic(settings.secret("username_from"), settings.secret("password_from"))
        self._shop = _basic(settings.secret("key_from"), settings.secret("secret_from"))

    def send(self, images: Sequence[Image], journal: Journal, progress: Callable[[int, int], None]) -> Outcome:
        """Upload what is not there, then give each product its images.

        Raises:
            UserError: the shop cannot be reached, or refuses the keys.
        """
        outcome = Outcome()
        products: dict[str, list[Image]] = {}
        for image in images:
            products.setdefault(image.sku, []).append(image)
        for number, (sku, own) in enumerate(products.items(), 1):
            try:
                self._send_product(sku, sorted(own, key=lambda image: image.position), journal, outcome)
            except Refused as refused:
                outcome.add_problem(
                    f"{sku}: WooCommerce refuses the product's images ({refused.reason}); correct that."
                )
            progress(number, len(products))
        return outcome

    def withdraw(self, place: Place, journal: Journal) -> None:
        """See :class:`Service`; the image stays in the library."""
        product, known = self._product(place.sku), journal.ids(place)
        now = [one["id"] for one in product["images"]] if product else []
        if product and set(now) & set(known):
            body = {"images": [{"id": id} for id in now if id not in known]}
            self._call("PUT", f"{_PRODUCTS}/{product['id']}", self._shop, body)

    def _send_product(self, sku: str, images: Sequence[Image], journal: Journal, outcome: Outcome) -> None:
        todo = [image for image in images if journal.step(image) != DONE]
        outcome.unchanged += len(images) - len(todo)
        if not todo:
            return
        product = self._product(sku)
        if product is None:
            outcome.add_problem(f"{sku}: WooCommerce has no product with this SKU; create it, then send it again.")
            return
        for image in todo:
            self._ensure_uploaded(image, journal, outcome)
        ready = [image for image in images if journal.step(image) in (_UPLOADED, DONE)]
        self._attach(product, ready, journal)
        for image in ready:
            if image in todo:
                journal.write(image, DONE, id=journal.entry(image)["id"])
                outcome.add_sent()

    def _attach(self, product: Mapping[str, Any], images: Sequence[Image], journal: Journal) -> None:
        """Give a product its images: ours first, without those that they replace, then what it has besides."""
        ids = [journal.entry(image)["id"] for image in images]
        leaving = {id for image in images for id in journal.former(image)} | set(ids)
        now = [one["id"] for one in product["images"]]
        wanted = ids + [id for id in now if id not in leaving]
        if now != wanted:
            body = {"images": [{"id": id} for id in wanted]}
            self._call("PUT", f"{_PRODUCTS}/{product['id']}", self._shop, body)

    def _product(self, sku: str) -> dict[str, Any] | None:
        found = self._call("GET", f"{_PRODUCTS}?{urlencode({'sku': sku})}", self._shop).json()
        return next((one for one in found if one.get("sku") == sku), None)

    def _ensure_uploaded(self, image: Image, journal: Journal, outcome: Outcome) -> None:
        """The image is in the library, once, also when an earlier run has ended before it knew that."""
        if journal.step(image) == _UPLOADED:
            return
        try:
            content = image.content()
        except UserError as error:
            outcome.add_problem(str(error))
            return
        old = journal.former(image)
        # It may be in the library though no product has it.
        known = self._found(image) if journal.step(image) in (_STARTED, WITHDRAWN) else None
        if known is None:
            journal.write(image, _STARTED, old=old)
            try:
                known = self._uploaded(image, content)
            except Refused as refused:
                outcome.add_problem(
                    f"{image.sku}: WordPress refuses {image.path.name} ({refused.reason}); correct that."
                )
                return
        journal.write(image, _UPLOADED, id=known, old=old)

    def _uploaded(self, image: Image, content: bytes) -> int:
        part = multipart.Part("file", image.file_name, image.content_type, content)
        alt = image.text(self._language)
        body, kind = multipart.packed({"slug": _slug(image), "title": image.sku, "alt_text": alt}, part)
        headers = {"Authorization": self._library, "Content-Type": kind}
        for _ in range(_TRIES):
            try:
                response = self._client.send("POST", self.target + _MEDIA, body, headers, repeatable=False)
                return int(response.json()["id"])
            except Unsure:
                found = self._found(image)
                if found is not None:
                    return found
            except Refused as refused:
                raise _explained(refused, self.target) from refused
        raise UserError(f"{self.target}: uploads fail; run the same command again later, it goes on there.")

    def _found(self, image: Image) -> int | None:
        """The id of the image in the library."""
        query = urlencode({"slug": _slug(image)})
        listed = self._call("GET", f"{_MEDIA}?{query}", self._library).json()
        return next((int(one["id"]) for one in listed if one.get("slug") == _slug(image)), None)

    def _call(self, method: str, path: str, authorization: str, body: Mapping[str, Any] | None = None) -> Response:
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        content = json.dumps(body).encode() if body is not None else None
        try:
            return self._client.send(method, self.target + path, content, headers)
        except Refused as refused:
            raise _explained(refused, self.target) from refused


def _explained(refused: Refused, target: str) -> UserError | Refused:
    if refused.status in (401, 403):
        return UserError(f"{target} answers {refused.status}; check the keys and what they may do.")
    return refused


def _slug(image: Image) -> str:
    return image.file_name.rpartition(".")[0]


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
