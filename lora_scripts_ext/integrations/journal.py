"""What has been sent to a system: a line for each step, so that a run that ends in the middle goes on where it was."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from .. import file_lock, files, json_text
from ..errors import UserError
from .manifest import Image, Place

#: the last step of an image
DONE = "done"
#: that of one that was taken out again
WITHDRAWN = "withdrawn"


class Journal:
    """The steps of each image, the last one counting. May be used from several threads.

    It is a file of JSON lines beside the manifest, ``manifest-SERVICE.jsonl``.
    """

    def __init__(self, manifest: Path, service: str, target: str) -> None:
        """``target``: where the images go to; lines of another target are passed over."""
        self.path = manifest.with_name(f"{manifest.stem}-{service}.jsonl")
        self._target = target
        self._lock = threading.Lock()
        self._entries: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Journal:
        """Open and read it.

        Raises:
            UserError: another run holds it.
        """
        self._file = files.appending(self.path)
        if file_lock.take(self._file.fileno()) is False:
            self._file.close()
            raise UserError(f"{self.path}: another run is sending these images; wait until it ends.")
        self._file.seek(0)
        content = self._file.read()
        if content and not content.endswith(b"\n"):
            # The last line of a run that was killed.
            self._file.write(b"\n")
        for line in content.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and entry.get("to") == self._target:
                self._entries[str(entry.get("image"))] = entry
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def entry(self, image: Image) -> dict[str, Any]:
        """The last line of an image's place, be it of this image or of an older one; empty where there is none."""
        with self._lock:
            return self._entries.get(image.key, {})

    def step(self, image: Image) -> str:
        """How far this very image is; empty where nothing has been done."""
        entry = self.entry(image)
        return str(entry.get("step", "")) if entry.get("sha256") == image.sha256 else ""

    def former(self, image: Image) -> list[Any]:
        """Ids of older images in this place, which may be in the system still."""
        entry = self.entry(image)
        ids = list(entry.get("old") or [])
        is_older = entry.get("sha256") != image.sha256 and entry.get("id") is not None
        return [*ids, entry["id"]] if is_older else ids

    def unlisted(self, places: Collection[str]) -> list[Place]:
        """Where images were sent to that is not among ``places``, which are keys."""
        with self._lock:
            entries = list(self._entries.items())
        return [Place.of(key) for key, entry in entries if key not in places and entry.get("step") != WITHDRAWN]

    def ids(self, place: Place) -> list[Any]:
        """Ids of all images that were sent to a place."""
        with self._lock:
            entry = self._entries.get(place.key, {})
        return [*(entry.get("old") or []), *([entry["id"]] if entry.get("id") is not None else [])]

    def write(self, image: Image, step: str, **values: Any) -> None:
        """Add a line; it is on the disk when this returns."""
        self._write(image.place, {"sha256": image.sha256, "step": step, **values})

    def write_withdrawn(self, place: Place) -> None:
        """Add the line of an image that is not in the system any more."""
        with self._lock:
            sha256 = self._entries.get(place.key, {}).get("sha256")
        self._write(place, {"sha256": sha256, "step": WITHDRAWN})

    def _write(self, place: Place, values: Mapping[str, Any]) -> None:
        entry = {"to": self._target, "image": place.key, **values}
        with self._lock:
            self._file.write(json_text.dumps(entry).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._entries[place.key] = entry
