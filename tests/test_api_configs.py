"""The schema of a config, presets, estimates, the server itself, and the document of all routes."""

import json
import re
import time
from pathlib import Path

import pytest

from lora_scripts_ext import __version__, config, presets
from lora_scripts_ext.api import webhooks
from lora_scripts_ext.api.errors import CODES
from lora_scripts_ext.captioning import choose
from lora_scripts_ext.commands import openapi
from lora_scripts_ext.config import FIELDS, Config
from lora_scripts_ext.jobs.kinds import registry

from . import api, models, shop

PAGES = ("api.md", "api-models.md", "api-catalogues.md")
DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "openapi.json"


@pytest.fixture
def service(tmp_path):
    return api.make_service(tmp_path)


@pytest.fixture
def client(service):
    with api.serving(service) as client:
        yield client


def test_the_schema_has_every_key_as_the_config_has_it(client):
    answer = client.get("config/schema").json
    keys = {one["key"]: one for one in answer["keys"]}
    assert set(keys) == set(FIELDS)
    for key, one in keys.items():
        assert one["default"] == config.default(key)
        assert (one["minimum"], one["maximum"]) == (FIELDS[key].metadata["low"], FIELDS[key].metadata["high"])
        assert one["label"] and one["help"].endswith(".")
        assert (one["shown"] in ("folded", "standalone")) == (one["group"] in answer["groups"])
    assert keys["optimizer"]["choices"][0] == "adamw"
    assert (keys["lora_alpha"]["type"], keys["lora_alpha"]["nullable"]) == ("number", True)
    assert (keys["preview_prompts"]["type"], keys["preview_prompts"]["items"]) == ("array", "string")
    assert (keys["flip"]["type"], keys["optimizer_args"]["type"]) == ("boolean", "object")
    assert keys["reg_data_dir"]["label"] == "Folder of class images"
    assert keys["train_data_dir"]["shown"] == "first" and keys["train_data_dir"]["path"]
    assert keys["device"]["shown"] == "standalone"
    assert keys["tensorboard"]["shown"] == "never"


def test_presets_are_configs(client):
    items = client.get("presets").json["items"]
    assert [one["title"] for one in items] == list(presets.KINDS)
    for one in items:
        assert client.get(f"presets/{one['name']}").json == one
        Config(**one["config"])
    assert client.get("presets/dragon").json["code"] == "not_found"


def test_an_estimate_is_that_of_the_run(client, tmp_path):
    images = shop.write_images(tmp_path / "photos")
    checkpoint = models.write_checkpoint(tmp_path / "tiny.safetensors", "sd1")
    asked = {
        "train_data_dir": str(images), "base_model": str(checkpoint), "output_name": "shoes", "epochs": 3,
        "resolution": [64], "lora_rank": 2,
    }  # fmt: skip
    answer = client.post("estimate", {"config": asked})
    assert answer.status == 200
    found = answer.json
    assert found["steps"] == 3 * found["steps_per_epoch"] and found["pictures"] == found["steps_per_epoch"]
    assert found["fits"] and found["seconds"] > 0 and found["file_bytes"] == 2 * found["parameters"]
    wrong = client.post("estimate", {"config": {**asked, "epochs": 0}})
    assert (wrong.status, wrong.json["field"]) == (422, "config.epochs")
    missing = client.post("estimate", {"config": {**asked, "train_data_dir": str(tmp_path / "none")}})
    assert missing.status == 422
    assert client.get("jobs").json["items"] == []


def test_the_server_says_what_it_is(service, client, tmp_path):
    api.add_job(service)
    found = client.get("system").json
    assert (found["version"], found["host"]) == (__version__, "worker")
    assert found["queue"] == {"paused": False, "counts": {"queued": 1}}
    assert found["disk_free_bytes"] > 0 and found["device"]["type"] in ("cpu", "cuda", "mps")
    assert found["kinds"] == list(registry.KINDS)
    assert {one["name"] for one in found["captioners"]} == set(choose.NAMES) - {"auto"}
    options = {one["name"]: one["options"] for one in found["captioners"]}
    assert (options["names"], options["clip"]) == ([], ["words", "model"])
    assert found["base_model"] == str(tmp_path / "base.safetensors")
    assert found["limits"]["json_bytes"] == 2**20


def test_the_document_is_up_to_date():
    # Other versions of FastAPI write it otherwise; the pinned one is that of the requirements.
    pytest.importorskip("openapi_spec_validator")
    assert DOCUMENT.read_text(encoding="utf-8") == openapi.document(), (
        "run python -m lora_scripts_ext openapi > docs/openapi.json"
    )


def test_the_document_is_valid():
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(json.loads(DOCUMENT.read_text(encoding="utf-8")))


def test_the_document_is_served_and_has_every_route(client):
    document = client.get("openapi.json").json
    paths = {path.removeprefix(api.PREFIX) for path in document["paths"]}
    assert {"/jobs", "/jobs/{id}", "/jobs/{id}/events", "/events", "/estimate", "/config/schema", "/system"} <= paths
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"] and operation["tags"]
            assert "application/problem+json" in operation["responses"]["default"]["content"]


def test_answers_are_as_the_document_says(service, client):
    jsonschema = pytest.importorskip("jsonschema")
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    config = {"train_data_dir": "/photos", "output_name": "shoes"}
    job = client.post("jobs", {"config": config}).json
    api.claimed(service, service.queue.get(job["id"]))
    asked = {
        "/jobs": "jobs", "/jobs/{id}": f"jobs/{job['id']}", "/jobs/{id}/report": f"jobs/{job['id']}/report",
        "/queue": "queue", "/system": "system", "/config/schema": "config/schema", "/presets": "presets",
        "/presets/{name}": "presets/car", "/jobs/{id}/files": f"jobs/{job['id']}/files",
    }  # fmt: skip
    for path, address in asked.items():
        content = document["paths"][api.PREFIX + path]["get"]["responses"]["200"]["content"]
        schema = {**content["application/json"]["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(client.get(address).json)
    problem = {**document["components"]["schemas"]["Problem"]}
    jsonschema.Draft202012Validator(problem).validate(client.get("jobs/nobody").json)


def test_the_page_has_every_code_with_its_status():
    text = (DOCUMENT.parent / "api.md").read_text(encoding="utf-8")
    found = {}
    for codes, statuses in re.findall(r"^\| (`[a-z_`, ]+`) \| ([\d, ]+) \|", text, re.MULTILINE):
        names, numbers = re.findall(r"`(\w+)`", codes), [int(one) for one in statuses.split(", ")]
        found |= dict(zip(names, numbers * (len(names) if len(numbers) == 1 else 1), strict=True))
    assert found == {code: status for code, (status, _) in CODES.items()}


def test_the_page_has_every_route_of_jobs_and_configs():
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    pages = "".join((DOCUMENT.parent / name).read_text(encoding="utf-8") for name in PAGES)
    for path in document["paths"]:
        last = path.rpartition("/")[2]
        assert last in pages, path


def test_the_pages_check_of_a_signature_is_right():
    text = (DOCUMENT.parent / "api.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import hashlib, hmac, time\n.*?)```", text, re.DOTALL)
    names = {}
    exec(code, names)
    now = int(time.time())
    header = webhooks.signature("secret", b"{}", now)
    assert names["is_ours"]("secret", header, b"{}")
    assert not names["is_ours"]("secret", header, b"{ }")
    assert not names["is_ours"]("other", header, b"{}")
    assert not names["is_ours"]("secret", webhooks.signature("secret", b"{}", now - 1000), b"{}")
