"""A version of a model and its contact sheet as the API answers them, for a page; what is decided is kept and shown."""

from __future__ import annotations

import io
import json
import re
from typing import Any

from PIL import Image

STRENGTHS = [0.6, 0.8, 1.0]
REASON = "The loss on images kept aside is lowest here."
_FOLDER = "/data/runs/1"
_FINAL = f"{_FOLDER}/brand.safetensors"
_FILES = {1: f"{_FOLDER}/brand-000001.safetensors", 2: f"{_FOLDER}/brand-000002.safetensors"}
_AT = "2026-11-20T10:00:00.000Z"


class ContactSheet:
    """What the routes of a review answer; ``posted`` holds what a page has sent: the end of the path, and the body.

    Args:
        prompts: of the sheet.
        drawn: how many of its images are there.
    """

    def __init__(self, prompts: list[str], drawn: int | None = None) -> None:
        self.state = "done"
        self.posted: list[tuple[str, dict[str, Any]]] = []
        #: path's end -> status, code and sentence of the next answer
        self.refusals: dict[str, tuple[int, str, str, str]] = {}
        self.decisions: list[dict[str, Any]] = []
        self.publications: list[dict[str, Any]] = []
        self.prompts = prompts
        self.drawn = drawn
        self.suggested = {"checkpoint": _FILES[1], "strength": 0.8, "reason": REASON}

    def answer(self, page: Any) -> None:
        """Answer what ``page`` asks from now on."""
        page.route(
            re.compile(r"/v1/models/\w+/versions$"), lambda route: route.fulfill(json={"items": [self._version()]})
        )
        page.route(
            re.compile(r"/v1/models/\w+/(versions/1/(review|decisions|publish)|publications|rollback)$"), self._routed
        )
        page.route(
            "**/v1/cell/*",
            lambda route: route.fulfill(
                body=_image(int(route.request.url.rpartition("/")[2])), content_type="image/png"
            ),
        )
        page.route("**/v1/jobs?limit=*", self._jobs)

    def _routed(self, route: Any) -> None:
        end = route.request.url.rpartition("/")[2]
        if route.request.method == "GET":
            found = {"review": self._review, "decisions": lambda: {"items": self.decisions}}
            route.fulfill(json=found.get(end, lambda: {"items": self.publications})())
            return
        body = json.loads(route.request.post_data or "{}")
        self.posted.append((end, body))
        if end in self.refusals:
            status, code, detail, field = self.refusals.pop(end)
            problem = {"status": status, "code": code, "detail": detail, "field": field or None, "remedy": ""}
            route.fulfill(status=status, json=problem, content_type="application/problem+json")
            return
        route.fulfill(json=getattr(self, f"_take_{end}")(body))

    def _take_review(self, body: dict[str, Any]) -> dict[str, Any]:
        self.state, self.drawn = "running", 0
        self.prompts = body.get("prompts", self.prompts)
        return {"id": "sheet"}

    def _take_decisions(self, body: dict[str, Any]) -> dict[str, Any]:
        made = {
            "id": str(len(self.decisions)),
            "checkpoint": "",
            "strength": None,
            "comment": "",
            "who": "",
            "at": _AT,
            **body,
        }
        self.decisions.insert(0, made)
        return made

    def _take_publish(self, body: dict[str, Any]) -> dict[str, Any]:
        made = {
            "seq": len(self.publications), "version": "v", "number": 1, "name": "brand",
            "path": "/webui/Lora/brand.safetensors", "at": _AT, "withdrawn": None, **body,
        }  # fmt: skip
        self.publications.insert(0, made)
        return made

    def _take_rollback(self, body: dict[str, Any]) -> dict[str, Any]:
        used = [one for one in self.publications if one["withdrawn"] is None]
        used[0]["withdrawn"] = _AT
        return {"withdrawn": used[0], "current": used[1]}

    def _version(self) -> dict[str, Any]:
        verdicts = [one for one in self.decisions if one["verdict"] != "comment"]
        state = verdicts[0]["verdict"] if verdicts else "none"
        used = next((one for one in self.publications if one["withdrawn"] is None), None)
        return {
            "id": "v", "model": "m", "number": 1, "job": "training", "parent": None, "file": _FINAL, "sha256": "",
            "published": "", "facts": {"held_out": [{"step": 10, "epoch": 1, "loss": 0.125, "base": 0.25}]},
            "created": _AT, "address": "/lora-trainer/v1/models/m/versions/1/file", "origin": "training",
            "review": {"state": state, "by": "", "at": str(len(self.decisions))},
            "published_as": used,
        }  # fmt: skip

    def _review(self) -> dict[str, Any]:
        checkpoints = [
            {"file": file, "name": file, "step": 10 * epoch, "epoch": epoch, "final": False, "suggested": epoch == 1}
            for epoch, file in _FILES.items()
        ]
        checkpoints.append({"file": _FINAL, "name": "brand", "step": 30, "epoch": 3, "final": True, "suggested": False})
        places = [(None, 0.0), *((one["file"], strength) for one in checkpoints for strength in STRENGTHS)]
        cells = [
            {
                "checkpoint": file,
                "strength": strength,
                "prompt": prompt,
                "seed": 1,
                "parameters": f"{prompt}\nSteps: 20",
            }
            for prompt in self.prompts
            for file, strength in places
        ]
        drawn = len(cells) if self.drawn is None else self.drawn
        for index, cell in enumerate(cells):
            cell["image"] = f"/lora-trainer/v1/cell/{index}" if index < drawn else None
        done = self.state == "done"
        return {
            "job": "sheet", "state": self.state, "reason": "",
            "progress": None if done else {"done": drawn, "total": len(cells)},
            "sheet": "/lora-trainer/v1/cell/0" if done else None,
            "checkpoints": checkpoints, "all_checkpoints": checkpoints,
            "strengths": STRENGTHS, "prompts": self.prompts, "seed": 1, "width": 64, "height": 64, "cells": cells,
            "suggested": self.suggested,
        }  # fmt: skip

    def _jobs(self, route: Any) -> None:
        response = route.fetch()
        page = response.json()
        page["items"].append({
            "id": "sheet", "kind": "review", "name": "brand", "model": "m", "state": self.state, "reason": "",
            "status": "", "waits_for": "", "progress": {}, "result": {}, "not_before": None, "window": "",
            "resumes": True,
        })  # fmt: skip
        route.fulfill(response=response, json=page)


def _image(index: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 64), (index * 40 % 256, index * 90 % 256, 120)).save(content, "PNG")
    return content.getvalue()
