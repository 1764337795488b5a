"""Reviews over HTTP: contact sheets, decisions, what is published, taken back, and withheld without approval."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

import torch
from fastapi.testclient import TestClient
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from lora_scripts_ext.api.access import on_loopback, with_key
from lora_scripts_ext.api.app import PREFIX, standalone
from lora_scripts_ext.api.service import Service
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.jobs import reviewing
from lora_scripts_ext.jobs.environment import Standalone
from lora_scripts_ext.jobs.execution import Execution
from lora_scripts_ext.jobs.perform import perform
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.job import NewJob
from lora_scripts_ext.library.keys import Keys
from lora_scripts_ext.library.models import Models
from lora_scripts_ext.owner import Owner

SUFFIXES = (".safetensors", ".json", ".png")


class Shop(Standalone):
    """An environment that lists LoRAs in a folder, as a WebUI does."""

    def __init__(self, data_dir, loras, base_model):
        super().__init__(data_dir, base_model)
        self.loras = loras
        self.relisted = []

    def lora_dir(self):
        return self.loras

    def relist(self, changed=None):
        self.relisted.append(changed)

    def host(self, stop):
        host = StandaloneHost()
        host.lora_dir = lambda: self.loras
        return host


@dataclass
class Server:
    """A service, requests below its prefix, and the folder that LoRAs are listed in."""

    service: Service
    client: TestClient
    loras: Path

    def __call__(self, method, path, status=200, **options):
        response = self.client.request(method, f"{PREFIX}{path}", **options)
        assert response.status_code == status, response.text
        return response.json()

    def problem(self, method, path, status, says, **options):
        answer = self(method, path, status, **options)
        assert says in answer["detail"] and answer["remedy"]
        return answer

    def model(self, name="brand", **fields):
        fields = {"kind": "brand_style", "trigger_word": "brnd", **fields}
        return self("POST", "/models", 201, json={"name": name, **fields})["id"]

    def perform(self):
        """Run the first job that waits; returns it."""
        claim = self.service.queue.claim("here cpu", Owner.current())
        with Execution(self.service.queue, claim, self.service.database.folder) as execution:
            perform(self.service.queue, execution, self.service.environment)
        return self.service.queue.get(claim.job.id)

    def version(self, model, number, checkpoints=0):
        """A training that is done, whose files hold its number."""
        folder = self.service.database.folder / "models" / model / "runs" / str(number)
        folder.mkdir(parents=True)
        names = [f"brand-{one:06d}" for one in range(1, checkpoints + 1)]
        files = [lora(folder / f"{name}.safetensors", number, name) for name in [*names, "brand"]]
        card = {"description": f"version {number}", "activation text": "brnd", "preferred weight": 1.0}
        (folder / "brand.json").write_text(json.dumps(card))
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / "brand.png")
        self.service.queue.add([NewJob("train", {}, "brand", output_dir=str(folder), model=model)])
        claim = self.service.queue.claim("here cpu", Owner.current())
        facts = {"lora": str(files[-1]), "checkpoints": [str(one) for one in files[:-1]]}
        self.service.queue.finish(claim, "done", "", facts)
        return folder

    def bytes(self):
        """What lies in the folder of LoRAs."""
        return {path.name: path.read_bytes() for path in self.loras.iterdir() if not path.name.endswith(".bak")}

    def card(self):
        return json.loads((self.loras / "brand.json").read_text(encoding="utf-8"))


def lora(path, number, name):
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors = {f"{layer}.lora_down.weight": torch.full((4, 8), float(number)), f"{layer}.alpha": torch.tensor(4.0)}
    metadata = {"ss_output_name": name, "ss_steps": "10" if name != "brand" else "20", "ss_epoch": "1"}
    save_file(tensors, path, metadata)
    return path


@pytest.fixture
def server(tmp_path, checkpoint):
    loras = tmp_path / "Lora"
    loras.mkdir()
    service = Service(Database(tmp_path / "data"), Shop(tmp_path / "data", loras, str(checkpoint)))
    yield Server(service, TestClient(standalone(service, on_loopback()), base_url="http://127.0.0.1"), loras)
    service.close()


def test_a_training_is_reviewed_approved_and_published(server, data):
    config = {
        "resolution": 32, "bucket_step": 16, "lora_rank": 4, "batch_size": 2, "epochs": 2, "save_epochs": 1,
        "preview_epochs": 0, "preview_steps": 2, "preview_seed": 5, "tensorboard": False, "device": "cpu",
        "learning_rate": 0.05,
    }  # fmt: skip
    server("PATCH", "/settings", json={"values": {"require_approval": True, "contact_sheet": True}})
    models = Models(server.service.database)
    reviewing.queue_due(server.service.queue, server.service.environment, models)
    model = server.model(folder=str(data), config=config)
    server("POST", f"/models/{model}/train", 201)
    trained = server.perform()
    assert trained.state == "done" and "not published" in trained.reason and server.bytes() == {}
    path = f"/models/{model}/versions/1"
    before = server("GET", f"{path}/review")
    assert (before["job"], before["state"], before["cells"], before["suggested"]) == (None, "none", [], None)
    assert before["prompts"][0] == "brnd, a pair of headphones" and before["seed"] == 5
    assert [(one["name"], one["epoch"], one["step"], one["final"]) for one in before["checkpoints"]] == [
        ("brand-000001.safetensors", 1, 3, False), ("brand.safetensors", 2, 6, True),
    ]  # fmt: skip

    # As the settings want it, once.
    for _ in range(2):
        reviewing.queue_due(server.service.queue, server.service.environment, models)
    assert [job["kind"] for job in server("GET", "/jobs?state=queued")["items"]] == ["review"]
    waiting = server("GET", f"{path}/review")
    assert waiting["state"] == "queued" and len(waiting["cells"]) == (1 + 2 * 3) * 4
    assert {cell["image"] for cell in waiting["cells"]} == {None}
    assert server.perform().state == "done"
    drawn = server("GET", f"{path}/review")
    assert drawn["progress"] == {"done": 28, "total": 28} and drawn["prompts"] == before["prompts"]
    cell = drawn["cells"][-1]
    assert (cell["checkpoint"], cell["strength"], cell["seed"]) == (before["checkpoints"][-1]["file"], 1.0, 8)
    assert cell["parameters"].startswith("brnd, a bowl of fruit <lora:brand:1>\nSteps: 2, Sampler: Euler")
    assert [one["checkpoint"] for one in drawn["cells"][:4]] == [None] * 4
    for address in (cell["image"], drawn["sheet"]):
        image = server.client.get(address)
        assert (image.status_code, image.headers["content-type"]) == (200, "image/png")

    # Other words, for one checkpoint.
    wanted = {"prompts": ["brnd, a car"], "checkpoints": ["brand-000001.safetensors"], "strengths": [0.8]}
    job = server("POST", f"{path}/review", 201, json=wanted)
    assert (job["kind"], job["model"], job["config"]["title"]) == ("review", model, "brand, version 1")
    assert server.perform().progress["prepare"]["done"] == 2
    again = server("GET", f"{path}/review")
    assert (again["job"], len(again["cells"]), len(again["all_checkpoints"])) == (job["id"], 2, 2)

    chosen = {"checkpoint": "brand-000001.safetensors", "strength": 0.8}
    server.problem("POST", f"{path}/publish", 403, "not approved", json=chosen)
    assert server.bytes() == {}
    server("POST", f"{path}/decisions", 201, json={"verdict": "approved", **chosen, "who": "Li"})
    published = server("POST", f"{path}/publish", json={**chosen, "who": "Li"})
    assert (published["name"], published["strength"], published["who"]) == ("brand-000001.safetensors", 0.8, "Li")
    assert set(server.bytes()) == {"brand.safetensors", "brand.json", "brand.png"}
    assert (server.card()["preferred weight"], server.card()["activation text"]) == (0.8, "brnd")
    image = next(one["image"] for one in again["cells"] if one["checkpoint"])
    assert (server.loras / "brand.png").read_bytes() == server.client.get(image).content
    with safe_open(server.loras / "brand.safetensors", "pt") as file:
        assert file.metadata()["ss_output_name"] == "brand"
        with safe_open(before["checkpoints"][0]["file"], "pt") as own:
            assert all(file.get_tensor(key).equal(own.get_tensor(key)) for key in own.keys())  # noqa: SIM118
            assert {**own.metadata(), "ss_output_name": "brand"} == file.metadata()
    shown = server("GET", path)
    assert shown["review"]["state"] == "approved" and shown["review"]["by"] == "Li"
    assert (shown["published_as"]["strength"], shown["published"]) == (0.8, published["path"])
    assert server.service.environment.relisted == [server.loras / "brand.safetensors"]


def test_what_is_wrong_with_a_sheet_is_said(server):
    model = server.model()
    folder = server.version(model, 1, checkpoints=2)
    path = f"/models/{model}/versions/1/review"
    server.problem("POST", path, 404, "has no file", json={"checkpoints": ["x.safetensors"]})
    server.problem("POST", path, 422, "strengths holds 99", json={"strengths": [99]})
    server.problem("POST", path, 422, "sampler", json={"sampler": "none"})
    server.problem("POST", path, 422, "prompts holds an empty one", json={"prompts": [" "]})
    for file in folder.glob("*.safetensors"):
        file.unlink()
    server.problem("POST", path, 422, "is not there")
    assert "is not there" in server("GET", path)["reason"]


def test_people_decide_and_the_last_word_counts(server):
    model = server.model()
    server.version(model, 1, checkpoints=1)
    path = f"/models/{model}/versions/1"
    assert server("GET", path)["review"] == {"state": "none", "by": "", "at": None}

    def say(verdict, **more):
        server("POST", f"{path}/decisions", 201, json={"verdict": verdict, **more})
        return server("GET", f"/models/{model}/versions")["items"][0]["review"]["state"]

    assert say("requested", who="Wang") == "requested"
    assert say("comment", comment="Too dark.", who="李雷", checkpoint="brand-000001.safetensors") == "requested"
    assert say("approved", checkpoint="brand.safetensors", strength=0.8, who=" Li ") == "approved"
    items = server("GET", f"{path}/decisions")["items"]
    assert [(one["verdict"], one["name"], one["strength"], one["who"]) for one in items] == [
        ("approved", "brand.safetensors", 0.8, "Li"), ("comment", "brand-000001.safetensors", None, "李雷"),
        ("requested", "", None, "Wang"),
    ]  # fmt: skip
    server("PATCH", "/settings", json={"values": {"require_approval": True}})
    refused = {"checkpoint": "brand.safetensors", "strength": 1.0}
    for wanted in (refused, {"checkpoint": "brand-000001.safetensors", "strength": 0.8}):
        server.problem("POST", f"{path}/publish", 403, "is not approved", json=wanted)
    server("POST", f"{path}/publish", json={**refused, "strength": 0.8})
    for verdict, status in (("approved", 200), ("rejected", 403), ("approved", 200), ("requested", 403)):
        say(verdict)
        server("POST", f"{path}/publish", status, json=refused)
    for wrong, says in (
        ({"verdict": "comment", "comment": " "}, "it is empty"),
        ({"verdict": "comment", "comment": "x" * 4001}, "shorten it"),
        ({"verdict": "approved", "who": "a\nb"}, "who: "),
        ({"verdict": "liked"}, "verdict"),
    ):
        server.problem("POST", f"{path}/decisions", 422, says, json=wrong)
    server.problem("POST", f"{path}/decisions", 404, "no file", json={"verdict": "approved", "checkpoint": "x"})
    server.problem("GET", f"/models/{model}/versions/2/decisions", 404, "no version")


def test_a_key_says_who_it_is(server):
    keys = Keys(server.service.database)
    _, secret = keys.add("Anna's laptop", "write")
    _, reading = keys.add("screen", "read")
    model = server.model()
    server.version(model, 1)
    client = TestClient(standalone(server.service, with_key(keys, server.service.threads)))
    path = f"{PREFIX}/models/{model}/versions/1"
    body = {"verdict": "approved", "who": "the boss"}
    headers = {"Authorization": f"Bearer {secret}"}
    assert client.post(f"{path}/decisions", json=body, headers=headers).json()["who"] == "Anna's laptop"
    assert client.post(f"{path}/publish", json={"who": "x"}, headers=headers).json()["who"] == "Anna's laptop"
    headers = {"Authorization": f"Bearer {reading}"}
    for address in (f"{path}/decisions", f"{path}/publish", f"{PREFIX}/models/{model}/rollback"):
        assert client.post(address, json={"verdict": "approved"}, headers=headers).status_code == 403


def test_what_was_there_before_is_put_back_byte_for_byte(server):
    model = server.model()
    for number in (1, 2):
        server.version(model, number, checkpoints=1)
    publish = [f"/models/{model}/versions/{number}/publish" for number in (1, 2)]
    server("POST", publish[0], json={"strength": 0.7})
    # Somebody has filled in the card and chosen another image.
    card = {**server.card(), "notes": "for summer", "activation text": "brnd, sunny"}
    (server.loras / "brand.json").write_text(json.dumps(card, indent=2))
    Image.new("RGB", (9, 9), "green").save(server.loras / "brand.png")
    first = server.bytes()
    server("POST", publish[1], json={"checkpoint": "brand-000001.safetensors", "strength": 0.9})
    second = server.bytes()
    assert second["brand.safetensors"] != first["brand.safetensors"] and second["brand.png"] == first["brand.png"]
    assert (server.card()["notes"], server.card()["activation text"]) == ("for summer", "brnd, sunny")
    assert server.card()["preferred weight"] == 0.9
    server("POST", publish[1], json={"strength": 0.9})

    answer = server("POST", f"/models/{model}/rollback")
    assert (answer["withdrawn"]["number"], answer["current"]["name"]) == (2, "brand-000001.safetensors")
    assert answer["withdrawn"]["withdrawn"] and server.bytes() == second
    answer = server("POST", f"/models/{model}/rollback")
    assert (answer["current"]["number"], server.bytes()) == (1, first)
    versions = server("GET", f"/models/{model}/versions")["items"]
    assert [bool(one["published_as"]) for one in versions] == [False, True]
    assert server("POST", f"/models/{model}/rollback")["current"] is None
    assert server.bytes() == {}
    server.problem("POST", f"/models/{model}/rollback", 409, "nothing of it is published")
    listed = server("GET", f"/models/{model}/publications")["items"]
    assert [one["number"] for one in listed] == [2, 2, 1] and all(one["withdrawn"] for one in listed)
    assert not list(server.loras.glob("*.bak"))
    # And again, as if nothing had been.
    server("POST", publish[0], json={"strength": 0.7})
    assert server.bytes()["brand.safetensors"] == first["brand.safetensors"]


def test_what_was_published_without_approval_is_not_put_back_where_it_is_required(server):
    model = server.model()
    for number in (1, 2):
        server.version(model, number)
    for number in (1, 2):
        server("POST", f"/models/{model}/versions/{number}/publish")
    server("PATCH", "/settings", json={"values": {"require_approval": True}})
    before = server.bytes()
    server.problem("POST", f"/models/{model}/rollback", 403, "Version 1, brand.safetensors at 1, is not approved")
    assert server.bytes() == before
    server("POST", f"/models/{model}/versions/1/decisions", 201, json={"verdict": "approved"})
    assert server("POST", f"/models/{model}/rollback")["current"]["number"] == 1


def test_a_file_of_somebody_else_is_replaced_only_if_that_is_wanted(server):
    model = server.model()
    folder = server.version(model, 1)
    theirs = {"brand.safetensors": b"theirs", "brand.json": b'{"notes": "mine"}', "brand.png": b"image"}
    for name, content in theirs.items():
        (server.loras / name).write_bytes(content)
    path = f"/models/{model}/versions/1/publish"
    answer = server.problem("POST", path, 409, "was not published from this model")
    assert answer["code"] == "conflict" and server.bytes() == theirs
    server("POST", path, json={"replace": True})
    assert server.bytes()["brand.safetensors"] == (folder / "brand.safetensors").read_bytes()
    assert {path.read_bytes() for path in server.loras.glob("*.bak")} == set(theirs.values())
    assert server("POST", f"/models/{model}/rollback")["current"] is None
    assert server.bytes() == theirs
    server("POST", path, json={"replace": True})
    (server.loras / "brand.safetensors").write_bytes(b"changed by hand")
    server.problem("POST", f"/models/{model}/rollback", 409, "was not published from this model")
    server("POST", f"/models/{model}/rollback", json={"replace": True})
    assert server.bytes() == theirs
    assert b"changed by hand" in {path.read_bytes() for path in server.loras.glob("*.bak")}


def test_a_file_that_is_there_already_is_left_as_it_is(server):
    model = server.model()
    folder = server.version(model, 1)
    (server.loras / "brand.safetensors").write_bytes((folder / "brand.safetensors").read_bytes())
    server("POST", f"/models/{model}/versions/1/publish", json={"strength": 0.6})
    assert server.card()["preferred weight"] == 0.6 and not list(server.loras.glob("*.bak"))


def test_an_imported_file_is_kept_when_another_version_takes_its_place(server):
    model = server.model()
    imported = lora(server.loras / "brand.safetensors", 7, "brand")
    content = imported.read_bytes()
    models = Models(server.service.database)
    first = models.add_version(model, imported, "import", facts={}, published=str(imported))
    server.version(model, 2)
    path = f"/models/{model}/versions"
    server.problem("POST", f"{path}/2/publish", 409, "was not published")
    server("POST", f"{path}/2/publish", json={"replace": True})
    shown = server("GET", f"{path}/1")
    assert Path(shown["file"]).read_bytes() == content and shown["file"] != str(imported)
    assert (shown["published"], shown["sha256"]) == ("", first.sha256)
    assert server("POST", f"/models/{model}/rollback")["current"] is None
    assert imported.read_bytes() == content and server("GET", f"{path}/1")["published"] == str(imported)
    # It can be published again, too.
    server("POST", f"{path}/2/publish", json={"replace": True})
    server("POST", f"{path}/1/publish", json={"strength": 0.5})
    assert imported.read_bytes() == content and server.card()["preferred weight"] == 0.5


def test_a_model_that_was_renamed_or_retired_since(server):
    model = server.model()
    for number in (1, 2):
        server.version(model, number)
        server("POST", f"/models/{model}/versions/{number}/publish")
    first = (server.service.database.folder / "models" / model / "runs" / "1" / "brand.safetensors").read_bytes()
    server("POST", f"/models/{model}/rename", json={"name": "shop"})
    server("POST", f"/models/{model}/retire")
    assert server.bytes() == {}
    server.problem("POST", f"/models/{model}/versions/1/publish", 409, "is retired")
    server.problem("POST", f"/models/{model}/rollback", 409, "is retired")
    server("POST", f"/models/{model}/restore")
    assert server("POST", f"/models/{model}/rollback")["current"]["number"] == 1
    assert server.bytes()["shop.safetensors"] == first
    server("POST", f"/models/{model}/versions/2/publish")
    with safe_open(server.loras / "shop.safetensors", "pt") as file:
        assert file.metadata()["ss_output_name"] == "shop"


def test_what_a_training_has_published_is_part_of_the_row(server, data):
    config = {
        "resolution": 32, "bucket_step": 16, "lora_rank": 4, "batch_size": 6, "epochs": 1, "preview_epochs": 0,
        "tensorboard": False, "device": "cpu", "learning_rate": 0.05,
    }  # fmt: skip
    model = server.model(folder=str(data), config=config)
    published = []
    for seed in (1, 2):
        server("POST", f"/models/{model}/train", 201, json={"config": {"seed": seed}})
        assert server.perform().state == "done"
        published.append(server.bytes())
    assert published[0]["brand.safetensors"] != published[1]["brand.safetensors"]
    listed = server("GET", f"/models/{model}/publications")["items"]
    assert [(one["number"], one["strength"], one["who"]) for one in listed] == [(2, None, ""), (1, None, "")]
    assert server("POST", f"/models/{model}/rollback")["current"]["number"] == 1
    assert server.bytes() == published[0]
    assert server("POST", f"/models/{model}/rollback")["current"] is None
    assert server.bytes() == {}


def test_a_failure_in_between_changes_nothing(server, monkeypatch):
    model = server.model()
    server.version(model, 1)
    server.version(model, 2)
    server("POST", f"/models/{model}/versions/1/publish")
    before = server.bytes()
    (server.loras / "brand.json").write_text("no card")
    broken = {**before, "brand.json": b"no card"}
    assert server.bytes() == broken
    # A card that is none is put aside, as a training does.
    server("POST", f"/models/{model}/versions/2/publish")
    assert [path.read_text() for path in server.loras.glob("*.bak")] == ["no card"]
    server("POST", f"/models/{model}/rollback")
    assert server.bytes() == broken
    (server.loras / "brand.json").write_bytes(before["brand.json"])

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lora_scripts_ext.training.publication.publish", full)
    response = server.client.post(f"{PREFIX}/models/{model}/versions/2/publish")
    assert response.status_code == 503 and server.bytes() == before
    assert len(server("GET", f"/models/{model}/publications")["items"]) == 2


def test_only_the_last_few_are_kept(server):
    model = server.model()
    server.version(model, 1)
    for strength in range(1, 8):
        server("POST", f"/models/{model}/versions/1/publish", json={"strength": strength / 10})
    for strength in range(6, 1, -1):
        server("POST", f"/models/{model}/rollback")
        assert server.card()["preferred weight"] == strength / 10
    server.problem("POST", f"/models/{model}/rollback", 409, "is not kept any more")


def test_webhooks_hear_of_decisions(server):
    model = server.model()
    server.version(model, 1)
    (server.service.database.folder / "service.yaml").write_text(
        "webhooks:\n  shop:\n    url: https://shop.example/hook\n    secret: s\n"
        "    events: [done, review.approved, published, rolled_back]\n"
    )
    for verdict in ("requested", "approved"):
        server("POST", f"/models/{model}/versions/1/decisions", 201, json={"verdict": verdict, "who": "Li"})
    server("POST", f"/models/{model}/versions/1/publish", json={"who": "Li"})
    server("POST", f"/models/{model}/rollback", json={"who": "Wang"})
    with server.service.database.reading() as connection:
        rows = connection.execute("SELECT hook, body FROM deliveries ORDER BY id").fetchall()
    bodies = [json.loads(row["body"]) for row in rows]
    assert [(row["hook"], body["event"]) for row, body in zip(rows, bodies, strict=True)] == [
        ("shop", "review.approved"), ("shop", "published"), ("shop", "rolled_back"),
    ]  # fmt: skip
    assert bodies[0]["model"] == {"id": model, "name": "brand"} and bodies[0]["version"] == 1
    assert (bodies[0]["decision"]["who"], bodies[1]["publication"]["who"], bodies[2]["who"]) == ("Li", "Li", "Wang")


def test_without_a_folder_for_loras_they_are_published_beside_the_model(tmp_path, checkpoint):
    service = Service(Database(tmp_path / "data"), Standalone(tmp_path / "data", str(checkpoint)))
    client = TestClient(standalone(service, on_loopback()), base_url="http://127.0.0.1")
    server = Server(service, client, tmp_path / "data")
    model = server.model()
    folder = server.version(model, 1)
    published = server("POST", f"/models/{model}/versions/1/publish")
    assert Path(published["path"]) == tmp_path / "data" / "models" / model / "published" / "brand.safetensors"
    assert Path(published["path"]).read_bytes() == (folder / "brand.safetensors").read_bytes()
    service.close()
