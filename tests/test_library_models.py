"""Models and their versions: names, drafts, cards, what a training leaves behind, what a damaged library keeps."""

import hashlib
from dataclasses import replace

import pytest

from lora_scripts_ext.captions import trigger_word
from lora_scripts_ext.errors import Conflict, NotFound, UserError
from lora_scripts_ext.library import models as library_models
from lora_scripts_ext.library import rebuild
from lora_scripts_ext.library.database import NAME, Database
from lora_scripts_ext.library.job import NewJob
from lora_scripts_ext.library.models import Models, record_version
from lora_scripts_ext.library.publications import Publications
from lora_scripts_ext.library.queue import Queue
from lora_scripts_ext.owner import Owner

LANE = "here cpu"


@pytest.fixture
def database(tmp_path):
    return Database(tmp_path)


@pytest.fixture
def models(database):
    return Models(database)


@pytest.fixture
def queue(database):
    return Queue(database)


def train(queue, model, out, **config):
    return queue.add([NewJob("train", config, model.name, output_dir=str(out), model=model.id)])[0]


def finished(queue, model, out, name="a.safetensors", **config):
    """A training that is done, with its file."""
    job = train(queue, model, out, **config)
    out.mkdir(parents=True, exist_ok=True)
    (out / name).write_bytes(out.name.encode())
    claim = queue.claim(LANE, Owner.current())
    queue.running(claim)
    queue.finish(claim, "done", "", {"lora": str(out / name), "steps": 6, "loss": 0.5, "seconds": 1.0})
    return queue.get(job.id)


def test_a_model_is_created_changed_and_found(models):
    model = models.create("Möbel", "product", trigger_word="  mbl   style ", config={"epochs": 3})
    assert (model.name, model.kind, model.trigger_word) == ("Möbel", "product", "mbl style")
    assert models.get(model.id).config == {"epochs": 3}
    assert models.change(model.id, config={"epochs": 4}, name="Chairs").config == {"epochs": 4}
    assert models.get(model.id).name == "Chairs"
    with pytest.raises(NotFound, match="GET /models"):
        models.get("no")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "empty"), ("con", "reserves"), ("COM1.x", "reserves"), ("a/b", "hold /"), ("a\\b", "hold"),
        ("x" * 201, "200"), ("ü" * 101, "200"), ("a.", "dot or space"), (".a", "start with a dot"), ("a\nb", "control"),
        ("a.safetensors", "omit"),
    ],
)  # fmt: skip
def test_a_name_must_be_one_of_a_file_on_every_system(models, name, says):
    with pytest.raises(UserError, match=says) as error:
        models.create(name, "car")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("name: ")


@pytest.mark.parametrize("other", ["brand", "BRAND", "Cafe\u0301"])
def test_names_that_a_file_system_may_take_for_the_same_are_taken_once(models, other):
    models.create("Brand", "car")
    models.create("café", "car")
    with pytest.raises(Conflict, match="already"):
        models.create(other, "car")
    own = next(model for model in models.page().models if model.name == "Brand")
    assert models.change(own.id, name="BRAND").name == "BRAND"


def test_wrong_values_are_one_sentence(models):
    for fields in (
        {"kind": "dog"}, {"trigger_word": "a\u202eb"}, {"trigger_word": "x" * 300}, {"folder": "a\0b"},
        {"config": {"preview_negative": "x" * 70_000}},
    ):  # fmt: skip
        with pytest.raises(UserError, match=next(iter(fields))):
            models.create("a", **{"kind": "car", **fields})
    assert models.page().total == 0


def test_pages_show_every_model_once_the_last_changed_first(models, monkeypatch):
    clock = iter(range(1, 100))
    monkeypatch.setattr(library_models, "_now", lambda: float(next(clock) // 2))
    created = [models.create(f"model {number}", "car", trigger_word=f"Wörd{number}") for number in range(7)]
    models.change(created[2].id, trigger_word="other")
    names, cursor = [], ""
    while cursor is not None:
        page = models.page(limit=3, cursor=cursor)
        names += [model.name for model in page.models]
        cursor = page.next
    assert names[0] == "model 2"
    assert sorted(names) == sorted(model.name for model in created)
    assert [model.name for model in models.page(search="WÖRD3 model").models] == ["model 3"]
    assert models.page(kind="product").total == 0
    with pytest.raises(UserError, match="cursor"):
        models.page(cursor="x")


def test_a_card_says_how_far_a_model_is(models, queue, tmp_path):
    model = models.create("brand", "car")

    def state():
        return models.states([model])[model.id]

    assert state().standing == "draft"
    job = train(queue, model, tmp_path / "1")
    assert (state().standing, state().job) == ("queued", job.id)
    claim = queue.claim(LANE, Owner.current())
    queue.running(claim)
    queue.beat(claim, {"step": 3, "steps": 12}, 3)
    assert (state().standing, state().share) == ("training", 0.25)
    queue.finish(claim, "failed", "No images.")
    assert (state().standing, state().reason) == ("failed", "No images.")
    queue.cancel(job.id)
    assert state().standing == "draft"
    finished(queue, model, tmp_path / "2")
    assert (state().standing, state().versions, state().newest.number) == ("done", 1, 1)


def test_a_training_of_a_model_becomes_a_version_once(database, models, queue, tmp_path):
    model = models.create("brand", "car")
    first = finished(queue, model, tmp_path / "1", lora_rank=4)
    second = finished(queue, model, tmp_path / "2", init_lora=str(tmp_path / "1" / "a.safetensors"))
    newest, oldest = models.versions(model.id)
    assert (oldest.number, oldest.job, oldest.parent, newest.number, newest.parent) == (1, first.id, None, 2, oldest.id)
    assert newest.sha256 == hashlib.sha256(b"2").hexdigest()
    assert newest.job == second.id
    assert (oldest.facts["steps"], oldest.facts["loss"], oldest.facts["config"]) == (6, 0.5, {"lora_rank": 4})
    assert record_version(database, first) == oldest
    assert len(models.versions(model.id)) == 2
    assert record_version(database, replace(first, kind="caption")) is None
    published = Publications(database)
    published.finish(published.begin(model.id, newest.id, newest.file, 1.0, ""), "/loras/a.safetensors")
    assert models.version(model.id, 2).published == "/loras/a.safetensors"
    queue.remove(first.id)
    assert models.version(model.id, 1).job is None
    with pytest.raises(NotFound):
        models.version(model.id, 3)


def test_a_published_version_keeps_its_own_file(models, queue, tmp_path):
    model = models.create("brand", "car")
    job = train(queue, model, tmp_path / "1")
    for folder in ("1", "loras"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "brand.safetensors").write_bytes(b"x")
    claim = queue.claim(LANE, Owner.current())
    queue.finish(claim, "done", "", {"lora": str(tmp_path / "loras" / "brand.safetensors")})
    version = models.versions(model.id)[0]
    assert version.job == job.id
    assert version.file == str(tmp_path / "1" / "brand.safetensors")
    assert version.published == str(tmp_path / "loras" / "brand.safetensors")


def test_deleting_keeps_the_files_or_moves_them_to_the_trash(models, queue, tmp_path):
    model = models.create("brand", "car")
    image = models.images(model) / "a.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"x")
    train(queue, model, tmp_path / "1")
    with pytest.raises(Conflict, match="cancel"):
        models.delete(model.id)
    queue.cancel(queue.page().jobs[0].id)
    assert models.delete(model.id) is None
    assert image.exists()
    other = models.create("brand", "car")
    moved = models.delete(other.id, trash=True)
    assert moved.is_relative_to(tmp_path / "trash") and moved.is_dir()
    assert models.page().total == 0
    assert queue.page().jobs[0].model is None


def test_a_library_that_is_made_again_has_its_models_and_versions(models, queue, database, tmp_path):
    model = models.create("brand", "car", trigger_word="brnd", config={"epochs": 3})
    gone = models.create("gone", "car")
    job = finished(queue, model, tmp_path / "1")
    models.delete(gone.id)
    database.close()
    (tmp_path / NAME).write_bytes(b"no database" * 1000)
    again = Database(tmp_path, rebuild.from_folders)
    found = Models(again).page().models
    assert [(one.id, one.name, one.trigger_word, one.config) for one in found] == [
        (model.id, "brand", "brnd", {"epochs": 3})
    ]
    assert Models(again).versions(model.id)[0].job == job.id
    assert Queue(again).get(job.id).model == model.id


def test_trigger_words_are_suggested_and_looked_up():
    for name in ("Red Sneaker", "茶杯", "a", "Çelik"):
        word = trigger_word.suggested(name)
        assert word == trigger_word.suggested(name)
        assert word.isascii() and word.isalpha() and 4 <= len(word) <= 8
        assert not trigger_word.looked_up(word).known
        assert trigger_word.suggested(name, {word}) != word
    found = trigger_word.looked_up("sneaker")
    assert (found.tokens, found.known) == (1, ("sneaker",))
    assert "sneaker" in found.advice
    assert trigger_word.looked_up("rdsnkr").advice == ""
    assert "switches" in trigger_word.looked_up("").advice
