"""A model's watch over HTTP, under every version of FastAPI that a WebUI ships."""

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from lora_scripts_ext.api.access import on_loopback
from lora_scripts_ext.api.app import PREFIX, standalone
from lora_scripts_ext.api.service import Service
from lora_scripts_ext.jobs.environment import Bounds, Standalone
from lora_scripts_ext.library.database import Database


@pytest.fixture
def client(tmp_path):
    folder = tmp_path / "data"
    service = Service(Database(folder), Standalone(folder, str(tmp_path / "base.safetensors"), Bounds((tmp_path,))))
    yield TestClient(standalone(service, on_loopback()), base_url="http://127.0.0.1")
    service.close()


def test_a_watch_from_its_making_to_its_end(client, tmp_path):
    def send(method, path, status=200, **options):
        response = client.request(method, f"{PREFIX}{path}", **options)
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    model = send("POST", "/models", 201, json={"name": "cars", "kind": "car", "trigger_word": "crz"})["id"]
    path = f"/models/{model}/watch"
    assert send("GET", path, 404)["code"] == "not_found"
    (tmp_path / "new").mkdir()
    made = send("PUT", path, json={"folder": str(tmp_path / "new"), "hour": "3:30", "train": {"epochs": 2}})
    assert (made["hour"], made["new_images"], made["fetched"], made["job"]) == ("03:30", 4, None, None)
    assert send("GET", path) == made
    for body, field in (
        ({"folder": "/etc"}, None),
        ({"folder": str(tmp_path / "none")}, "folder"),
        ({"folder": str(tmp_path / "new"), "hour": "late"}, "hour"),
        ({"folder": str(tmp_path / "new"), "train": {"epocs": 2}}, None),
        ({"folder": str(tmp_path / "new"), "command": ["sh"]}, "command"),
        # What is run at night is for the operator to say, in service.yaml.
        ({"folder": str(tmp_path / "new"), "fetch": "rm -rf /"}, "fetch"),
    ):
        problem = send("PUT", path, 422, json=body)
        assert field is None or field in (problem["field"] or "") or field in problem["detail"], problem
    assert send("GET", path) == made
    job = send("POST", f"{path}/run", 201)
    assert (job["kind"], job["model"], job["config"]["train"]["epochs"]) == ("update", model, 2)
    assert send("POST", f"{path}/run", 409)["code"] == "conflict"
    assert send("GET", f"/jobs?kind=update&model={model}")["items"][0]["id"] == job["id"]
    send("DELETE", path, 204)
    send("DELETE", path, 404)
    send("POST", f"{path}/run", 404)
    assert send("GET", "/models/nobody/watch", 404)["code"] == "not_found"
    document = send("GET", "/openapi.json")
    assert set(document["paths"][f"{PREFIX}/models/{{id}}/watch"]) == {"get", "put", "delete"}
