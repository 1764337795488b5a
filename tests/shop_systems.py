"""Doubles of the systems of shops, as their documentation describes them: what they take, what they refuse, how much of
it at a time."""

from __future__ import annotations

import base64
import email
import io
import json
import os
import re
import signal
import threading
import time
from collections import deque
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from PIL import Image


class System(ThreadingHTTPServer):
    """A system with limits; a test may script what goes wrong.

    Attributes:
        calls: method and path of each request, in order.
        script: by a part of a request's name, what happens to the next ones: ``429``, ``503`` (nothing is done),
            ``502`` (it is done, and the answer is lost), ``kill`` (it is done, and the client is killed).
        victim: process id of the client that ``kill`` means.
        refused: how many requests were too many, at once or in a second.
    """

    at_once = 1000
    per_second = 1000
    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls, self.script, self.victim, self.refused = [], {}, None, 0
        self._running, self._times, self._lock = 0, deque(), threading.Lock()
        self.lock = threading.RLock()

    @property
    def host(self):
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self):
        return f"http://{self.host}"

    @contextmanager
    def running(self):
        """Whether one more request may run now."""
        with self._lock:
            now = time.monotonic()
            while self._times and now - self._times[0] > 1:
                self._times.popleft()
            self._times.append(now)
            self._running += 1
            allowed = self._running <= self.at_once and len(self._times) <= self.per_second
            self.refused += not allowed
        try:
            yield allowed
        finally:
            with self._lock:
                self._running -= 1

    def scripted(self, name):
        with self._lock:
            for part, events in self.script.items():
                if part in name and events:
                    return events.pop(0)
        return ""

    def name(self, method, path, body):
        """What a script calls a request."""
        return f"{method} {path}"

    def answer(self, method, path, query, headers, body):
        """Status, headers, body."""
        raise NotImplementedError

    @contextmanager
    def serving(self):
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _handle(self):
        system = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        name = system.name(self.command, parts.path, body)
        with system.running() as allowed:
            system.calls.append(name)
            event = "429" if not allowed else system.scripted(name)
            if event == "429":
                return self._say(429, {"Retry-After": "1" if allowed else "0.2"}, {"message": "too many"})
            if event == "503":
                return self._say(503, {}, {"message": "down"})
            with system.lock:
                said = system.answer(self.command, parts.path, parse_qs(parts.query), self.headers, body)
            if event == "502":
                said = (502, {}, {"message": "lost"})
            if event == "kill":
                os.kill(system.victim, signal.SIGKILL)
            time.sleep(0.002)
        return self._say(*said)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle

    def _say(self, status, headers, body):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for header in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def form(headers, body):
    """The fields of a form in their order: name, file name, content."""
    message = email.message_from_bytes(b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body)
    return [
        (part.get_param("name", header="content-disposition"), part.get_filename(), part.get_payload(decode=True))
        for part in message.get_payload()
    ]


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class AkeneoPim(System):
    """4 calls at once and 100 a second; 100 assets a request."""

    at_once, per_second = 4, 100
    family = "shots"
    ATTRIBUTES = ("media", "alt_text", "sku", "role", "ai_source")

    def __init__(self):
        super().__init__()
        self.tokens, self.media, self.assets = set(), {}, {}

    def answer(self, method, path, query, headers, body):
        if path == "/api/oauth/v1/token":
            wanted = {"grant_type": "password", "username": "user", "password": "pass"}
            if headers["Authorization"] != basic("client", "secret") or json.loads(body) != wanted:
                return 422, {}, {"message": "No user found"}
            self.tokens.add(f"token{len(self.tokens)}")
            return 200, {}, {"access_token": f"token{len(self.tokens) - 1}", "expires_in": 3600}
        if (headers.get("Authorization") or "").removeprefix("Bearer ") not in self.tokens:
            return 401, {}, {"message": "The access token provided is invalid."}
        if (method, path) == ("POST", "/api/rest/v1/asset-media-files"):
            ((name, file_name, content),) = form(headers, body)
            assert name == "file"
            code = f"a/b/{len(self.media)}_{file_name}"
            self.media[code] = content
            return 201, {"asset-media-file-code": code, "Location": f"{self.url}{path}/{code}"}, b""
        if (method, path) == ("PATCH", f"/api/rest/v1/asset-families/{self.family}/assets"):
            listed = json.loads(body)
            if len(listed) > 100:
                return 413, {}, {"message": "Too many resources to process, 100 is the maximum allowed."}
            return 200, {}, [self._asset(one) for one in listed]
        if method == "DELETE" and path.startswith(f"/api/rest/v1/asset-families/{self.family}/assets/"):
            known = self.assets.pop(path.rpartition("/")[2], None)
            return (404, {}, {"message": "Asset does not exist"}) if known is None else (204, {}, b"")
        return 404, {}, {"message": f"{path} does not exist"}

    def lose(self, content):
        """Somebody removes an image; returns whether it was there."""
        codes = [code for code, one in self.assets.items() if self.media[one["media"][0]["data"]] == content]
        return bool([self.assets.pop(code) for code in codes])

    def _asset(self, one):
        if not re.fullmatch(r"\w{1,255}", one["code"], re.ASCII):
            return {"code": one["code"], "status_code": 422, "message": "bad code"}
        unknown = set(one["values"]) - set(self.ATTRIBUTES)
        if unknown or one["values"]["media"][0]["data"] not in self.media:
            return {"code": one["code"], "status_code": 422, "message": f"unknown {sorted(unknown)} or media"}
        status = 204 if one["code"] in self.assets else 201
        self.assets[one["code"]] = one["values"]
        return {"code": one["code"], "status_code": status}

    def shown(self):
        """The contents of the images that each product has."""
        shown = {}
        for values in self.assets.values():
            shown.setdefault(values["sku"][0]["data"], []).append(self.media[values["media"][0]["data"]])
        return shown


class WordPress(System):
    """A media library and a WooCommerce shop."""

    def __init__(self, *skus):
        super().__init__()
        self.library, self.uploads = {}, 0
        self.products = {number: {"id": number, "sku": sku, "images": []} for number, sku in enumerate(skus, 100)}

    def answer(self, method, path, query, headers, body):
        of_library = path.startswith("/wp-json/wp/v2/media")
        if headers.get("Authorization") != (basic("editor", "app pass") if of_library else basic("ck_1", "cs_1")):
            return 401, {}, {"code": "rest_cannot_create", "message": "Sorry, you are not allowed to do that."}
        if of_library and method == "GET":
            return 200, {}, [one for one in self.library.values() if one["slug"] == query["slug"][0]]
        if of_library and method == "POST":
            return self._uploaded(form(headers, body))
        if path == "/wp-json/wc/v3/products":
            return 200, {}, [self._view(one) for one in self.products.values() if one["sku"] == query["sku"][0]]
        product = self.products[int(path.rpartition("/")[2])]
        return self._changed(product, json.loads(body)["images"])

    def _uploaded(self, fields):
        values = {name: content.decode() for name, file_name, content in fields if not file_name}
        _, file_name, content = fields[-1]
        self.uploads += 1
        slug, number = values["slug"], self.uploads
        taken = {one["slug"] for one in self.library.values()}
        self.library[number] = {
            "id": number, "slug": f"{slug}-2" if slug in taken else slug, "alt_text": values["alt_text"],
            "content": base64.b64encode(content).decode(), "file_name": file_name,
        }  # fmt: skip
        return 201, {}, self.library[number]

    def _changed(self, product, images):
        for one in images:
            if set(one) != {"id"} or one["id"] not in self.library:
                return 400, {}, {"code": "woocommerce_product_invalid_image_id", "message": f"{one} is invalid"}
        product["images"] = [one["id"] for one in images]
        return 200, {}, self._view(product)

    def lose(self, content):
        """Somebody removes an image from its product; returns whether it was there."""
        ids = [id for id, one in self.library.items() if base64.b64decode(one["content"]) == content]
        holders = [one for one in self.products.values() if set(ids) & set(one["images"])]
        for one in holders:
            one["images"] = [id for id in one["images"] if id not in ids]
        return bool(holders)

    def _view(self, product):
        return {**product, "images": [{"id": id, "src": f"{self.url}/{id}"} for id in product["images"]]}

    def shown(self):
        return {
            one["sku"]: [base64.b64decode(self.library[id]["content"]) for id in one["images"]]
            for one in self.products.values()
            if one["images"]
        }


class Storage(System):
    """Where Shopify has files uploaded to: each once it is announced, with the parameters that were given."""

    def __init__(self):
        super().__init__()
        self.expected, self.files = {}, {}

    def answer(self, method, path, query, headers, body):
        *fields, (name, file_name, content) = form(headers, body)
        wanted = self.expected.get(path)
        if wanted is None or [(one, value.decode()) for one, _, value in fields] != wanted["parameters"]:
            return 403, {}, b"<Error>SignatureDoesNotMatch</Error>"
        if name != "file" or len(content) != wanted["size"] or "X-Shopify-Access-Token" in headers:
            return 400, {}, b"<Error>EntityTooLarge</Error>"
        self.files[f"{self.url}{path}"] = (file_name, content)
        return 204, {}, b""


class ShopifyShop(System):
    """GraphQL with a budget: 1000 points, of which 50 come back a second; a request costs 10.

    Attributes:
        exhausted: so many requests find the budget used up.
    """

    LARGEST, LONGEST_SIDE = 20 << 20, 4472
    BUDGET, RESTORED, COST = 1000, 50, 10

    def __init__(self, storage, *skus):
        super().__init__()
        self.storage = storage
        self.products = {f"gid://shopify/Product/{number}": sku for number, sku in enumerate(skus, 1)}
        self.media, self.made, self.exhausted = {}, 0, 0

    def name(self, method, path, body):
        query = json.loads(body)["query"]
        return re.search(r"\{\s*(\w+)", query)[1]

    def answer(self, method, path, query, headers, body):
        if headers.get("X-Shopify-Access-Token") != "shpat_1":
            return 401, {}, {"errors": "[API] Invalid API key or access token"}
        if self.exhausted:
            self.exhausted -= 1
            errors = [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]
            status = {"maximumAvailable": self.BUDGET, "currentlyAvailable": 0, "restoreRate": self.RESTORED}
            cost = {"requestedQueryCost": self.COST, "throttleStatus": status}
            return 200, {}, {"errors": errors, "extensions": {"cost": cost}}
        asked = json.loads(body)
        return 200, {}, {"data": getattr(self, f"_{self.name(method, path, body)}")(asked["variables"])}

    def _productVariants(self, variables):
        sku = re.fullmatch(r'sku:"(.*)"', variables["query"])[1]
        # The search finds more than what is equal.
        found = [(id, one) for id, one in self.products.items() if one.startswith(sku)]
        return {"productVariants": {"nodes": [{"sku": one, "product": {"id": id}} for id, one in found]}}

    def _stagedUploadsCreate(self, variables):
        (one,) = variables["input"]
        path = f"/tmp/{len(self.storage.expected)}/{one['filename']}"
        parameters = [("key", path), ("policy", "p"), ("x-goog-signature", "s")]
        self.storage.expected[path] = {"parameters": parameters, "size": int(one["fileSize"])}
        target = {"url": f"{self.storage.url}{path}", "resourceUrl": f"{self.storage.url}{path}"}
        target["parameters"] = [{"name": name, "value": value} for name, value in parameters]
        return {"stagedUploadsCreate": {"stagedTargets": [target], "userErrors": []}}

    def _productCreateMedia(self, variables):
        (one,) = variables["media"]
        file_name, content = self.storage.files.get(one["originalSource"], ("", b""))
        message = "Image URL is invalid" if not content else ""
        if content and (len(content) > self.LARGEST or max(Image.open(io.BytesIO(content)).size) > self.LONGEST_SIDE):
            message = "Image is too large"
        if message:
            return {"productCreateMedia": {"media": [], "mediaUserErrors": [{"field": ["media"], "message": message}]}}
        self.made += 1
        id = f"gid://shopify/MediaImage/{self.made}"
        self.media[id] = {
            "product": variables["product"], "file_name": file_name, "content": content, "alt": one["alt"], "looks": 0,
        }  # fmt: skip
        return {"productCreateMedia": {"media": [{"id": id, "status": "UPLOADED"}], "mediaUserErrors": []}}

    def _productDeleteMedia(self, variables):
        missing = [id for id in variables["media"] if id not in self.media]
        errors = [{"field": ["mediaIds"], "message": f"Media id {id} does not exist"} for id in missing]
        for id in variables["media"] if not missing else ():
            del self.media[id]
        return {"productDeleteMedia": {"deletedMediaIds": variables["media"], "mediaUserErrors": errors}}

    def lose(self, content):
        """Somebody removes an image; returns whether it was there."""
        ids = [id for id, one in self.media.items() if one["content"] == content]
        return bool([self.media.pop(id) for id in ids])

    def _product(self, variables):
        nodes = []
        for id, one in self.media.items():
            if one["product"] == variables["product"]:
                one["looks"] += 1
                # It takes a while until a file has been looked at.
                is_ready = one["looks"] > 1
                image = {"url": f"https://cdn.shopify.com/s/files/{one['file_name']}?v=1"} if is_ready else None
                nodes.append({"id": id, "status": "READY" if is_ready else "PROCESSING", "image": image})
        return {"product": {"media": {"nodes": nodes}}}

    def shown(self):
        shown = {}
        for one in self.media.values():
            shown.setdefault(self.products[one["product"]], []).append(one["content"])
        return shown
