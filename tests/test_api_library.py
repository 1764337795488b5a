"""LoRAs that are there over HTTP: imported, found, merged, resized, merged into checkpoints, renamed, retired."""

import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from lora_scripts_ext.api.access import on_loopback
from lora_scripts_ext.api.app import PREFIX, standalone
from lora_scripts_ext.api.service import Service
from lora_scripts_ext.jobs.environment import Bounds
from lora_scripts_ext.jobs.execution import Execution
from lora_scripts_ext.jobs.perform import perform
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.models import Models
from lora_scripts_ext.owner import Owner

from .test_adapter_into_checkpoint import checkpoint
from .test_adapter_merge import effects, lora, weighted_sum
from .test_api_models import DOCUMENT, Client, problem
from .test_library_files import Place, contents


@pytest.fixture
def place(tmp_path):
    (tmp_path / "Lora" / "Seasons").mkdir(parents=True)
    place = Place(tmp_path / "data", tmp_path / "Lora")
    place._bounds = Bounds((tmp_path / "Lora",))
    for seed, name in enumerate(("a", "Seasons/b")):
        lora(tmp_path / "Lora" / f"{name}.safetensors", seed=seed)
    return place


@pytest.fixture
def service(place):
    service = Service(Database(place.data_dir), place)
    yield service
    service.close()


@pytest.fixture
def client(service):
    return Client(TestClient(standalone(service, on_loopback()), base_url="http://127.0.0.1"))


def done(service, answer):
    """The job in an answer, run to its end."""
    claim = service.queue.claim("here files", Owner.current())
    assert claim.job.id == answer["id"]
    with Execution(service.queue, claim, service.database.folder) as execution:
        perform(service.queue, execution, service.environment)
    job = service.queue.get(answer["id"])
    assert job.state == "done", job.reason
    return job


@pytest.fixture
def imported(client, service):
    done(service, client("POST", "/models/import", 201, json={"tags": ["old"]}))
    return {one["name"]: one for one in client("GET", "/models")["items"]}


def test_models_are_found_by_all_that_is_known_of_them(client, imported):
    assert (imported["b"]["kind"], imported["b"]["tags"], imported["b"]["retired"]) == (
        "season",
        ["old", "Seasons"],
        None,
    )

    def names(query):
        return [one["name"] for one in client("GET", f"/models?{query}")["items"]]

    changed = {"tags": ["Winter  Sale", "winter sale"], "kind": "scene", "config": {"base_model": "C:\\m\\Base.ckpt"}}
    answer = client("PATCH", f"/models/{imported['a']['id']}", json=changed)
    assert (answer["tags"], answer["kind"]) == (["Winter Sale"], "scene")
    for query in ("search=WINTER", "search=base.ckpt", "search=scene", "tag=winter%20sale", "kind=scene"):
        assert names(query) == ["a"], query
    assert names("search=old") == ["b"] and names("search=nothing") == [] and names("review=approved") == []
    assert sorted(names("review=none")) == ["a", "b"]
    assert problem(client, "GET", "/models?retired=maybe", 422, "invalid")["field"] == "retired"
    problem(client, "PATCH", f"/models/{imported['a']['id']}", 422, "invalid", json={"name": "c", "tags": ["x" * 100]})
    assert sorted(names("")) == ["a", "b"]
    problem(client, "PATCH", f"/models/{imported['a']['id']}", 422, "invalid", json={"kind": "dog"})


def test_an_import_is_done_once(client, service, imported):
    job = done(service, client("POST", "/models/import", 201))
    assert (job.result["known"], job.result["versions"]) == (2, 0)
    problem(client, "POST", "/models/import", 422, "invalid", json={"folder": "/etc"})
    problem(client, "POST", "/models/import", 422, "invalid", json={"folder": str(service.database.folder / "no")})


def test_a_merge_is_the_first_version_of_a_new_model(client, service, imported, place):
    parts = [
        {"model": imported["a"]["id"], "weight": 0.7},
        {"file": str(place.loras / "Seasons/b.safetensors"), "weight": -0.5},
    ]
    job = done(service, client("POST", "/models/merge", 201, json={"name": "both", "parts": parts, "tags": ["sum"]}))
    (version,) = client("GET", f"/models/{job.model}/versions")["items"]
    assert (version["origin"], version["number"], version["facts"]["ranks"]) == ("merge", 1, [6, 6])
    assert client("GET", f"/models/{imported['a']['id']}")["use"]["count"] == 1
    assert client("GET", f"/models/{job.model}")["use"] == {"count": 0, "last": None}
    first, second = version["facts"]["lineage"]["parts"]
    assert (first["model"], first["number"], first["weight"], second["weight"]) == (imported["a"]["id"], 1, 0.7, -0.5)
    expected = weighted_sum([place.loras / "a.safetensors", place.loras / "Seasons" / "b.safetensors"])
    merged = effects(version["file"])
    assert all((merged[key] - matrix).norm() < 1e-5 * matrix.norm() for key, matrix in expected.items())
    assert "relative error" in job.reason and service.database.folder in Path(version["file"]).parents
    problem(client, "POST", "/models/merge", 409, "conflict", json={"name": "Both", "parts": parts})
    for bad in ([], [{"weight": 1.0}], [{"model": "nobody"}], [{"file": "/etc/passwd"}], [{**parts[0], "file": "x"}]):
        status = 404 if bad == [{"model": "nobody"}] else 422
        client("POST", "/models/merge", status, json={"name": "other", "parts": bad})
    assert [one["name"] for one in client("GET", "/models?search=other")["items"]] == []


def test_a_version_is_resized_and_merged_into_a_checkpoint(client, service, imported, place):
    model = imported["a"]["id"]
    done(service, client("POST", f"/models/{model}/versions/1/resize", 201, json={"rank": 2}))
    second, first = client("GET", f"/models/{model}/versions")["items"]
    assert (second["origin"], second["parent"], second["facts"]["ranks"]) == ("resize", first["id"], [2, 2])
    base = checkpoint(place.loras / "base.safetensors", "sd1")
    wanted = {"base_model": str(base), "weight": 0.5}
    job = done(service, client("POST", f"/models/{model}/versions/2/into-checkpoint", 201, json=wanted))
    out = Path(job.result["checkpoint"])
    assert out.is_file() and service.database.folder in out.parents and "a v2" in out.name
    again = {**wanted, "output": str(out)}
    problem(client, "POST", f"/models/{model}/versions/2/into-checkpoint", 422, "invalid", json=again)
    outside = {**wanted, "output": str(place.loras.parent / "x.safetensors")}
    problem(client, "POST", f"/models/{model}/versions/2/into-checkpoint", 422, "invalid", json=outside)
    assert not (place.loras.parent / "x.safetensors").exists()
    problem(client, "POST", f"/models/{model}/versions/9/resize", 404, "not_found", json={"rank": 2})
    problem(client, "POST", f"/models/{model}/versions/1/resize", 422, "invalid", json={"rank": 0})


def test_renaming_retiring_and_bringing_back(client, imported, place):
    model, before = imported["a"]["id"], contents(place.loras)
    assert client("POST", f"/models/{model}/rename", json={"name": "new"})["name"] == "new"
    assert (place.loras / "new.safetensors").read_bytes() == before["a.safetensors"]
    # As the page does it.
    assert client("PATCH", f"/models/{model}", json={"name": "a"})["name"] == "a"
    assert contents(place.loras) == before
    (place.loras / "taken.safetensors").write_bytes(b"x")
    problem(client, "POST", f"/models/{model}/rename", 409, "conflict", json={"name": "taken"})
    assert client("POST", f"/models/{model}/retire")["retired"]
    assert "a.safetensors" not in contents(place.loras)
    assert [one["name"] for one in client("GET", "/models")["items"]] == ["b"]
    assert [one["name"] for one in client("GET", "/models?retired=true")["items"]] == ["a"]
    assert len(client("GET", "/models?retired=all")["items"]) == 2
    problem(client, "POST", f"/models/{model}/train", 409, "conflict")
    assert client("POST", f"/models/{model}/restore")["retired"] is None
    assert contents(place.loras)["a.safetensors"] == before["a.safetensors"]
    problem(client, "POST", f"/models/{model}/restore", 409, "conflict")
    problem(client, "POST", "/models/nobody/retire", 404, "not_found")


def test_answers_are_as_the_document_says(client, imported):
    jsonschema = pytest.importorskip("jsonschema")
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    model = imported["a"]["id"]
    asked = [
        ("GET", "/models", "/models", 200, None),
        ("GET", "/models/{id}/versions", f"/models/{model}/versions", 200, None),
        ("POST", "/models/{id}/retire", f"/models/{model}/retire", 200, None),
        ("POST", "/models/{id}/restore", f"/models/{model}/restore", 200, None),
        ("POST", "/models/{id}/rename", f"/models/{model}/rename", 200, {"name": "c"}),
        ("POST", "/models/import", "/models/import", 201, {}),
        ("POST", "/models/merge", "/models/merge", 201, {"name": "d", "parts": [{"model": model}]}),
        ("POST", "/models/{id}/versions/{number}/resize", f"/models/{model}/versions/1/resize", 201, {"rank": 1}),
    ]
    for method, path, address, status, body in asked:
        answer = client(method, address, status, **({"json": body} if body is not None else {}))
        content = document["paths"][PREFIX + path][method.lower()]["responses"][str(status)]["content"]
        schema = {**content["application/json"]["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer)


def test_a_merge_that_was_done_is_found_again_from_the_folders(client, service, imported, tmp_path):
    """As after the library's file was damaged."""
    from lora_scripts_ext.library import rebuild

    parts = [{"model": imported["a"]["id"]}]
    job = done(service, client("POST", "/models/merge", 201, json={"name": "both", "parts": parts}))
    (version,) = Models(service.database).versions(job.model)
    service.database.close()
    (service.database.folder / "library.sqlite3").write_bytes(b"damaged")
    again = Models(Database(service.database.folder, rebuild.from_folders))
    (found,) = again.versions(job.model)
    assert (found.origin, found.file, found.sha256) == ("merge", version.file, version.sha256)
    assert again.get(imported["b"]["id"]).tags == ["old", "Seasons"]
