"""A model's settings as a config file, and back."""

import pytest
import yaml

from lora_scripts_ext import config, presets
from lora_scripts_ext.api.service import Service
from lora_scripts_ext.jobs import of_model
from lora_scripts_ext.jobs.environment import Bounds, Standalone
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.job import NewJob
from lora_scripts_ext.library.models import Models

from . import api, photos

DRAFT = {"lora_rank": 5, "epochs": 3, "preview_prompts": ["a <shoe>", "größer"], "optimizer": "prodigy", "seed": 7}


@pytest.fixture
def service(tmp_path):
    folder = tmp_path / "data"
    return Service(Database(folder), Standalone(folder, str(tmp_path / "base.safetensors"), Bounds((tmp_path / "in",))))


@pytest.fixture
def client(service):
    with api.serving(service) as client:
        yield client


@pytest.fixture
def model(client):
    wanted = {"name": "Red Shoe", "kind": "product", "trigger_word": "rdsh", "config": DRAFT}
    return client.post("models", wanted).json["id"]


def put(client, model, text, status=200):
    answer = client.send("PUT", f"models/{model}/config.yaml", headers={"Content_Type": "text/yaml"}, body=text)
    assert answer.status == status, answer.body
    return answer.json


def test_the_file_is_the_config_of_a_training(service, client, model, tmp_path):
    models = Models(service.database)
    found = models.get(model)
    photos.photo(1, 96).save(models.images(found) / "1.png")
    answer = client.get(f"models/{model}/config.yaml")
    assert answer.headers["content-type"].startswith("application/yaml")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''Red%20Shoe.yaml"
    (tmp_path / "config.yaml").write_bytes(answer.body)
    loaded = config.load(tmp_path / "config.yaml")
    assert loaded.base_model == str(tmp_path / "base.safetensors")
    job = of_model.train(service.queue, service.environment, models, found, NewJob("train", {}))
    assert loaded.changed() == {**job.config, "output_dir": str(tmp_path / "data" / "Red Shoe")}


@pytest.mark.parametrize("kind", presets.NAMES)
def test_what_is_written_is_read_back(client, model, kind):
    client.send("PATCH", f"models/{model}", {"kind": kind})
    text = client.get(f"models/{model}/config.yaml").body
    client.send("PATCH", f"models/{model}", {"config": {"epochs": 99, "lora_alpha": 1}})
    assert put(client, model, text) == {"config": DRAFT, "notes": []}
    assert client.get(f"models/{model}").json["config"] == DRAFT
    assert client.get(f"models/{model}/config.yaml").body == text


def test_a_default_in_the_file_counts_where_the_preset_says_otherwise(client, model):
    preset = presets.values(presets.NAMES["product"])
    read = put(client, model, "lora_rank: 3")["config"]
    assert read["lora_rank"] == 3
    assert (read["save_epochs"], preset["save_epochs"]) == (config.default("save_epochs"), 4)


def test_other_trainers_files_are_translated_with_notes(client, model):
    text = 'network_dim: 4\nnetwork_alpha: 2\noutput_name: other\ntrain_data_dir: "/not/there"\nno_half_vae: true\n'
    read = put(client, model, text)
    assert (read["config"]["lora_rank"], read["config"]["lora_alpha"]) == (4, 2)
    assert any(note.startswith("output_name: ") for note in read["notes"])
    assert "train_data_dir" not in read["config"]


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        ("lora_rnk: 3", "config.lora_rnk", "did you mean lora_rank"),
        ("lora_rank: many", "config.lora_rank", "'many'"),
        ("epochs: 0", "config.epochs", "0"),
        ("init_lora: /etc/passwd", "config.init_lora", "only below"),
        ("base_model: ../secret", "config.base_model", "only below"),
        ("lora_rank: [", None, "line 1"),
        ("- a list", None, "config"),
        (b"trigger_word: \xff", None, "UTF-8"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(client, model, text, field, said):
    answer = put(client, model, text, 422)
    assert said in answer["detail"]
    assert field in (None, answer["field"])
    assert client.get(f"models/{model}").json["config"] == DRAFT


def test_a_path_that_may_be_read_is_kept(client, model, tmp_path):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "first.safetensors"
    read = put(
        client, model, yaml.safe_dump({"init_lora": str(path), "base_model": str(tmp_path / "base.safetensors")})
    )
    assert read["config"]["init_lora"] == str(path)
    assert "base_model" not in read["config"], "the server's own"


def test_a_model_that_cannot_be_trained_says_why(client, model):
    client.send("PATCH", f"models/{model}", {"config": {"epochs": 0}})
    answer = client.get(f"models/{model}/config.yaml")
    assert (answer.status, answer.json["field"]) == (422, "config.epochs")
    assert client.get("models/none/config.yaml").status == 404
