"""Finished images as media of Shopify's products (GraphQL Admin API): a staged upload, then the product's media."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ..errors import UserError
from . import multipart
from .client import Client, Refused, Unsure
from .journal import DONE, Journal
from .manifest import Image, Place
from .outcome import Outcome
from .settings import Settings

KEYS = ("url", "token_from", "upload_hosts", "api_version", "language", "channels")
_VERSION = "2025-10"
_PER_SECOND = 20.0
_LARGEST, _LONGEST_SIDE = 20 * 1024 * 1024, 4472
_STARTED, _CREATED = "started", "created"
_TRIES = 6
_READY_SECONDS = 60
_THROTTLED = "THROTTLED"

_PRODUCT = "query ($query: String!) { productVariants(first: 5, query: $query) { nodes { sku product { id } } } }"
_STAGE = """mutation ($input: [StagedUploadInput!]!) { stagedUploadsCreate(input: $input) {
  stagedTargets { url resourceUrl parameters { name value } } userErrors { field message } } }"""
_CREATE = """mutation ($media: [CreateMediaInput!]!, $product: ID!) {
  productCreateMedia(media: $media, productId: $product) {
    media { id status } mediaUserErrors { field message } } }"""
_DELETE = """mutation ($media: [ID!]!, $product: ID!) {
  productDeleteMedia(mediaIds: $media, productId: $product) { deletedMediaIds mediaUserErrors { field message } } }"""
_MEDIA = """query ($product: ID!) { product(id: $product) { media(first: 250) {
  nodes { id status ... on MediaImage { image { url } } } } } }"""


class Shopify:
    """A shop."""

    def __init__(self, settings: Settings) -> None:
        """Read the keys; nothing is sent yet.

        Raises:
            UserError: one is missing or wrong.
        """
        self.target = settings.url()
        self._language = settings.text("language", "en")
        version = settings.text("api_version", _VERSION)
        self._graphql = f"{self.target}/admin/api/{version}/graphql.json"
        self._token = settings.secret("token_from")
        self._client = Client([urlsplit(self.target).netloc, *settings.texts("upload_hosts")], _PER_SECOND)

    def send(self, images: Sequence[Image], journal: Journal, progress: Callable[[int, int], None]) -> Outcome:
        """Upload what is not there, product by product and in the order of positions; replace what has changed.

        Raises:
            UserError: the shop cannot be reached, or refuses the token.
        """
        todo = [image for image in images if journal.step(image) != DONE]
        todo.sort(key=lambda image: (image.sku, image.position))
        outcome = Outcome(unchanged=len(images) - len(todo))
        products: dict[str, str | None] = {}
        for number, image in enumerate(todo, 1):
            if image.sku not in products:
                products[image.sku] = self._product(image.sku)
            sentence = self._problem(image, products[image.sku])
            if not sentence:
                try:
                    self._send_image(image, str(products[image.sku]), journal)
                    outcome.add_sent()
                except Refused as refused:
                    sentence = f"{image.sku}: Shopify refuses {image.path.name} ({refused.reason}); correct that."
            if sentence:
                outcome.add_problem(sentence)
            progress(number, len(todo))
        return outcome

    def withdraw(self, place: Place, journal: Journal) -> None:
        """See :class:`Service`."""
        product, known = self._product(place.sku), journal.ids(place)
        if product is None or not known:
            return
        nodes = self._asked(_MEDIA, {"product": product})["product"]["media"]["nodes"]
        if there := [node["id"] for node in nodes if node["id"] in known]:
            _check(self._asked(_DELETE, {"media": there, "product": product})["productDeleteMedia"]["mediaUserErrors"])

    def _problem(self, image: Image, product: str | None) -> str:
        if product is None:
            return f"{image.sku}: Shopify has no product with this SKU; create it, then send it again."
        try:
            size = len(image.content())
        except UserError as error:
            return str(error)
        if size > _LARGEST or max(image.width, image.height) > _LONGEST_SIDE:
            return (
                f"{image.sku}: {image.path.name} is too large for Shopify, which takes {_LARGEST >> 20} MB and "
                f"{_LONGEST_SIDE} pixels a side; export it for the channel shopify."
            )
        return ""

    def _product(self, sku: str) -> str | None:
        escaped = sku.replace("\\", "\\\\").replace('"', '\\"')
        nodes = self._asked(_PRODUCT, {"query": f'sku:"{escaped}"'})["productVariants"]["nodes"]
        return next((str(node["product"]["id"]) for node in nodes if node["sku"] == sku), None)

    def _send_image(self, image: Image, product: str, journal: Journal) -> None:
        old = journal.former(image)
        step = journal.step(image)
        media = str(journal.entry(image)["id"]) if step == _CREATED else None
        if step == _STARTED:
            media = self._found(image, product)
        if media is None:
            source = self._staged(image)
            journal.write(image, _STARTED, old=old)
            media = self._created(image, product, source)
        journal.write(image, _CREATED, id=media, old=old)
        if old:
            self._asked(_DELETE, {"media": old, "product": product})
        journal.write(image, DONE, id=media)

    def _staged(self, image: Image) -> str:
        """Upload the file to where Shopify says; returns the address that productCreateMedia takes."""
        content = image.content()
        wanted = {
            "filename": image.file_name, "mimeType": image.content_type, "resource": "PRODUCT_IMAGE",
            "httpMethod": "POST", "fileSize": str(len(content)),
        }  # fmt: skip
        answer = self._asked(_STAGE, {"input": [wanted]})["stagedUploadsCreate"]
        _check(answer["userErrors"])
        target = answer["stagedTargets"][0]
        part = multipart.Part("file", image.file_name, image.content_type, content)
        body, kind = multipart.packed([(one["name"], one["value"]) for one in target["parameters"]], part)
        self._client.send("POST", target["url"], body, {"Content-Type": kind})
        return str(target["resourceUrl"])

    def _created(self, image: Image, product: str, source: str) -> str:
        """The id of the product's new media."""
        media = {"alt": image.text(self._language), "mediaContentType": "IMAGE", "originalSource": source}
        for _ in range(_TRIES):
            try:
                answer = self._asked(_CREATE, {"media": [media], "product": product}, repeatable=False)
            except Unsure:
                found = self._found(image, product)
                if found is not None:
                    return found
                continue
            _check(answer["productCreateMedia"]["mediaUserErrors"])
            return str(answer["productCreateMedia"]["media"][0]["id"])
        raise UserError(f"{self.target}: uploads fail; run the same command again later, it goes on there.")

    def _found(self, image: Image, product: str) -> str | None:
        """The id of the image among the product's media, by its mark, once all of these have an address."""
        ends = time.monotonic() + _READY_SECONDS
        while True:
            nodes = self._asked(_MEDIA, {"product": product})["product"]["media"]["nodes"]
            for node in nodes:
                if image.mark in str((node.get("image") or {}).get("url", "")):
                    return str(node["id"])
            if not any(node["status"] in ("UPLOADED", "PROCESSING") for node in nodes) or time.monotonic() > ends:
                return None
            time.sleep(1)

    def _asked(self, query: str, variables: Mapping[str, Any], *, repeatable: bool = True) -> dict[str, Any]:
        """The data of a GraphQL response; where the shop's budget is used up, after it has grown again."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"X-Shopify-Access-Token": self._token, "Content-Type": "application/json"}
        for _ in range(_TRIES):
            try:
                response = self._client.send("POST", self._graphql, body, headers, repeatable=repeatable)
            except Refused as refused:
                if refused.status in (401, 403):
                    raise UserError(
                        f"{self.target} answers {refused.status}; check the token and its scopes."
                    ) from refused
                raise
            answer = response.json()
            errors = answer.get("errors")
            if not errors:
                data: dict[str, Any] = answer["data"]
                return data
            if not _is_throttled(errors):
                raise UserError(f"{self.target}: Shopify refuses the request ({_words(errors)}); check api_version.")
            time.sleep(_seconds(answer.get("extensions") or {}))
        raise UserError(f"{self.target}: Shopify is busy; run the same command again later, it goes on there.")


def _check(errors: Sequence[Mapping[str, Any]]) -> None:
    if errors:
        raise Refused(200, _words(errors))


def _words(errors: Any) -> str:
    listed = errors if isinstance(errors, list) else [errors]
    return "; ".join(str(one.get("message") if isinstance(one, Mapping) else one) for one in listed)[:300]


def _is_throttled(errors: Any) -> bool:
    listed = errors if isinstance(errors, list) else []
    return any((one.get("extensions") or {}).get("code") == _THROTTLED for one in listed)


def _seconds(extensions: Mapping[str, Any]) -> float:
    """Until the budget has grown to what the request costs."""
    cost = extensions.get("cost") or {}
    status = cost.get("throttleStatus") or {}
    missing = float(cost.get("requestedQueryCost") or 0) - float(status.get("currentlyAvailable") or 0)
    return min(30.0, max(0.1, missing / float(status.get("restoreRate") or 50)))
