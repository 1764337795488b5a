"""Who may give access to others in a WebUI: nobody who may be anyone."""

import asyncio
import base64
import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("fastapi")

from starlette.requests import Request

from lora_scripts_ext import webui

PASSWORD = "Basic " + base64.b64encode(b"me:secret").decode()
LOGIN = "access-token=known"


@pytest.fixture
def caller(monkeypatch):
    """Who the guard says is behind a request, in a WebUI that was started so."""

    def asked(headers, *, open_to_others, login=None, password=None, method="POST"):
        paths = ModuleType("lora_scripts_ext.webui.paths")
        paths.flag = {"api_auth": password}.get
        paths.roots = lambda: [Path("data")] if open_to_others else []
        monkeypatch.setitem(sys.modules, paths.__name__, paths)
        monkeypatch.setattr(webui, "paths", paths, raising=False)
        monkeypatch.delitem(sys.modules, "lora_scripts_ext.webui.guard", raising=False)
        guard = importlib.import_module("lora_scripts_ext.webui.guard")
        headers = {"X-LoRA-Trainer-Page": guard.KEY, **headers}
        scope = {
            "type": "http", "method": method, "path": "/", "query_string": b"",
            "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
            "app": SimpleNamespace(auth=login, tokens={"known": "me"}),
        }  # fmt: skip
        return asyncio.run(guard.caller(Request(scope)))

    yield asked
    sys.modules.pop("lora_scripts_ext.webui.guard", None)


@pytest.mark.parametrize(
    ("headers", "options", "is_operator"),
    [
        ({}, {"open_to_others": False}, True),
        ({}, {"open_to_others": True}, False),
        ({"Cookie": LOGIN}, {"open_to_others": True, "login": {"me": "secret"}}, True),
        ({"Authorization": PASSWORD}, {"open_to_others": True, "password": "me:secret"}, True),
        ({}, {"open_to_others": True, "password": "me:secret", "method": "GET"}, False),
        ({"Cookie": LOGIN}, {"open_to_others": True}, False),
    ],
)
def test_who_is_known_or_alone_may(caller, headers, options, is_operator):
    assert caller(headers, **options).is_operator is is_operator
