"""LoRA files as models of the library: imported, renamed, retired and brought back, with their cards and previews."""

import hashlib
import json
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save

from lora_scripts_ext.errors import Conflict, UserError
from lora_scripts_ext.jobs import published_files, publishing
from lora_scripts_ext.jobs.environment import Standalone
from lora_scripts_ext.jobs.importing import import_folder
from lora_scripts_ext.library import archive, restore
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.job import NewJob
from lora_scripts_ext.library.models import Models
from lora_scripts_ext.library.queue import Queue
from lora_scripts_ext.training import publication

from .models import write_checkpoint
from .test_adapter_merge import lora

CARD = {"activation text": "brnd style, ", "preferred weight": 0.8}


class Place(Standalone):
    """An environment with a folder where LoRAs are used."""

    refreshed = 0

    def __init__(self, data_dir, loras):
        super().__init__(data_dir)
        self.loras = loras

    def lora_dir(self):
        return self.loras

    def relist(self, changed=None):
        self.refreshed += 1


@pytest.fixture
def loras(tmp_path):
    (tmp_path / "Lora").mkdir()
    return tmp_path / "Lora"


@pytest.fixture
def environment(tmp_path, loras):
    return Place(tmp_path / "data", loras)


@pytest.fixture
def models(tmp_path):
    return Models(Database(tmp_path / "data"))


def small(path, seed=0, **metadata):
    """A LoRA of two layers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = lora(path, seed=seed, rank=1, metadata=metadata)
    with safe_open(whole, "pt") as opened:
        kept = opened.metadata()
    tensors = {name: tensor for name, tensor in load_file(whole).items() if "down_blocks_0_attentions_0" in name}
    path.unlink()
    content = save(tensors)
    kept["sshs_model_hash"] = hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()
    path.write_bytes(save(tensors, kept))
    return path


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def filled(loras):
    """Three trainings of one model with a card, another with checkpoints in a sub-folder, and what is no LoRA."""
    small(loras / "brand_v1.safetensors", 1, ss_sd_model_name="base one.safetensors", ss_network_dim="1")
    small(loras / "brand_v2.safetensors", 2, ss_num_epochs="8")
    (loras / "brand_v2.json").write_text(json.dumps(CARD), encoding="utf-8")
    (loras / "brand_v2.preview.png").write_bytes(b"image")
    frequency = {"10_x": {"summer": 4, "tree": 1}}
    metadata = {"ss_tag_frequency": json.dumps(frequency), "ss_dataset_dirs": '{"10_x": {"img_count": 4}}'}
    for number, name in enumerate(("sun-000002", "sun-000004", "sun"), 3):
        small(loras / "Seasons" / f"{name}.safetensors", number, **metadata)
    write_checkpoint(loras / "checkpoint.safetensors", "sd1")
    (loras / "broken.safetensors").write_bytes(b"<html>")
    (loras / "notes.txt").write_text("x", encoding="utf-8")
    return loras


def test_files_become_models_and_stay_as_they_are(models, filled):
    before = contents(filled)
    result = import_folder(models, filled, tags=["old"])
    assert contents(filled) == before
    assert (len(result.models), result.versions, result.files, result.known) == (2, 3, 5, 0)
    assert {one["name"] for one in result.skipped} == {"checkpoint.safetensors", "broken.safetensors"}
    by_name = {model.name: model for model in models.page().models}
    brand, sun = by_name["brand"], by_name["sun"]
    assert (brand.kind, brand.trigger_word, brand.tags) == ("brand_style", "brnd style", ["old"])
    assert (sun.kind, sun.trigger_word, sun.tags) == ("season", "summer", ["old", "Seasons"])
    second, first = models.versions(brand.id)
    assert (first.number, first.origin, first.published) == (1, "import", str(filled / "brand_v1.safetensors"))
    assert first.sha256 == hashlib.sha256(before["brand_v1.safetensors"]).hexdigest()
    assert (first.facts["base_model"], first.facts["rank"]) == ("base one.safetensors", "1")
    assert first.facts["metadata"]["ss_network_dim"] == "1"
    assert second.facts["epochs"] == "8" and second.facts["previews"] == [str(filled / "brand_v2.preview.png")]
    (only,) = models.versions(sun.id)
    assert only.file == str(filled / "Seasons" / "sun.safetensors")
    assert [Path(path).stem for path in only.facts["checkpoints"]] == ["sun-000002", "sun-000004"]
    assert [model.name for model in models.page(search="BASE ONE").models] == ["brand"]
    assert [model.name for model in models.page(search="season").models] == ["sun"]
    assert [model.name for model in models.page(tag="seasons").models] == ["sun"]


def test_nothing_is_imported_twice_whatever_its_name(models, filled):
    import_folder(models, filled)
    again = import_folder(models, filled)
    assert (again.models, again.versions, again.known, again.moved) == ([], 0, 5, 0)
    # A copy, a file that was moved, one with another title, and a new version of a model that is there.
    (filled / "copy.safetensors").write_bytes((filled / "brand_v2.safetensors").read_bytes())
    (filled / "brand_v1.safetensors").rename(filled / "elsewhere.safetensors")
    small(filled / "brand_v3.safetensors", 9)
    third = import_folder(models, filled)
    assert (third.models, third.versions, third.moved) == ([], 1, 1)
    (brand,) = models.page(search="brand").models
    assert [version.number for version in models.versions(brand.id)] == [3, 2, 1]
    assert models.version(brand.id, 1).published == str(filled / "elsewhere.safetensors")


def test_a_file_that_states_another_s_hash_hides_nothing(models, loras):
    original = small(loras / "b.safetensors", 1)
    with safe_open(original, "pt") as opened:
        stale = opened.metadata()
    (loras / "a.safetensors").write_bytes(save(load_file(small(loras / "c.safetensors", 2)), stale))
    (loras / "c.safetensors").unlink()
    moved = original.rename(loras.parent / "b.safetensors")
    assert import_folder(models, loras).versions == 1
    moved.rename(original)
    assert import_folder(models, loras).versions == 1


def published(models, environment, tmp_path, name="brand"):
    """A model whose training has been published with a card and a preview that a user has chosen."""
    model = models.create(name, "product", trigger_word="brnd")
    run = models.home(model.id) / "runs" / "1"
    file = small(run / f"{name}.safetensors", 7, ss_output_name=name, ss_seed="1", **{"modelspec.title": name})
    (run / f"{name}.json").write_text(json.dumps(CARD), encoding="utf-8")
    copy = publication.publish(file, environment.lora_dir(), lambda text: None)
    copy.with_suffix(".preview.png").write_bytes(b"chosen")
    models.add_version(model.id, file, "training", sha256=digest(file), facts={}, published=str(copy))
    return model


def test_a_trained_lora_is_not_imported(models, environment, loras, tmp_path):
    model = published(models, environment, tmp_path)
    assert import_folder(models, loras).known == 1
    published_files.rename(models, environment, model.id, "renamed")
    assert import_folder(models, loras).known == 1


def test_renaming_takes_card_preview_and_alias_along(models, environment, loras, tmp_path):
    model = published(models, environment, tmp_path)
    version = models.version(model.id, 1)
    tensors = load_file(version.published)
    renamed = published_files.rename(models, environment, model.id, "new name")
    assert renamed.name == "new name" and environment.refreshed == 2
    assert sorted(path.name for path in loras.iterdir()) == [
        "new name.json", "new name.preview.png", "new name.safetensors",
    ]  # fmt: skip
    card = json.loads((loras / "new name.json").read_text(encoding="utf-8"))
    assert (card["activation text"], card["preferred weight"]) == ("brnd style, ", 0.8)
    with safe_open(loras / "new name.safetensors", "pt") as opened:
        metadata = opened.metadata()
    assert (metadata["ss_output_name"], metadata["modelspec.title"], metadata["ss_seed"]) == ("new name",) * 2 + ("1",)
    now = load_file(loras / "new name.safetensors")
    assert now.keys() == tensors.keys() and all((now[name] == tensors[name]).all() for name in now)
    assert models.version(model.id, 1).published == str(loras / "new name.safetensors")
    # The training's own file stays, and the next training replaces the copy without taking it for another's.
    assert digest(version.file) == version.sha256
    run = models.home(model.id) / "runs" / "2"
    next_file = small(run / "new name.safetensors", 8)
    publication.inherit(run)
    warnings = []
    publication.publish(next_file, loras, warnings.append)
    assert not warnings


def test_a_renamed_model_is_rolled_back_and_a_retired_one_not_published(models, environment, loras):
    model = models.create("brand", "product", trigger_word="brnd")
    for number in (1, 2):
        file = small(models.home(model.id) / "runs" / str(number) / "brand.safetensors", number, ss_output_name="brand")
        models.add_version(model.id, file, "training", facts={})
    database = models.database

    def publish(number):
        choice = publishing.Choice(Path(models.version(model.id, number).file), 0.8)
        publishing.publish(database, environment, models.get(model.id), models.version(model.id, number), choice)

    publish(1)
    first = (loras / "brand.safetensors").read_bytes()
    publish(2)
    published_files.rename(models, environment, model.id, "label")
    publishing.roll_back(database, environment, models.get(model.id))
    assert (loras / "label.safetensors").read_bytes() == first and not (loras / "brand.safetensors").exists()
    before = contents(loras)
    published_files.retire(models, environment, model.id)
    assert not contents(loras)
    for change in (lambda: publish(1), lambda: publishing.roll_back(database, environment, models.get(model.id))):
        with pytest.raises(Conflict, match="retired"):
            change()
    published_files.restore(models, environment, model.id)
    assert contents(loras) == before
    assert models.version(model.id, 1).published == str(loras / "label.safetensors")


def test_renaming_overwrites_nothing(models, environment, loras, tmp_path):
    model = published(models, environment, tmp_path)
    other = small(loras / "taken.safetensors", 5)
    (loras / "taken.json").write_text("{}", encoding="utf-8")
    before = contents(loras)
    with pytest.raises(Conflict, match="replace: true"):
        published_files.rename(models, environment, model.id, "taken")
    models.create("mine", "car")
    with pytest.raises(Conflict, match="there is a model called"):
        published_files.rename(models, environment, model.id, "MINE")
    with pytest.raises(UserError, match="name"):
        published_files.rename(models, environment, model.id, "../evil")
    assert contents(loras) == before and models.get(model.id).name == "brand"
    content = other.read_bytes()
    published_files.rename(models, environment, model.id, "taken", replace=True)
    kept = [path for path in loras.iterdir() if path.name.startswith("taken.safetensors.")]
    assert [path.read_bytes() for path in kept] == [content] and kept[0].suffix == ".bak"
    # Another case is the same file on some systems.
    published_files.rename(models, environment, model.id, "Taken")
    assert (loras / "Taken.safetensors").is_file()


def test_imported_files_are_renamed_but_not_changed(models, environment, filled):
    import_folder(models, filled)
    (brand,) = models.page(search="brand").models
    before = {path.name: path.read_bytes() for path in filled.glob("brand*")}
    published_files.rename(models, environment, brand.id, "label")
    assert {path.name.replace("label", "brand"): path.read_bytes() for path in filled.glob("label*")} == before
    assert not list(filled.glob("brand*"))
    assert models.version(brand.id, 2).file == str(filled / "label_v2.safetensors")
    assert import_folder(models, filled).known == 5


@pytest.mark.parametrize("other_disk", [False, True])
def test_a_retired_model_comes_back_byte_by_byte(models, environment, filled, tmp_path, monkeypatch, other_disk):
    import_folder(models, filled)
    trained = published(models, environment, tmp_path, "trained")
    (brand,) = models.page(search="brand").models
    if other_disk:
        # What a rename between two disks says.
        def refused(self, target):
            raise OSError(18, "Invalid cross-device link", str(self))

        monkeypatch.setattr(published_files.Path, "rename", refused)
    before = contents(filled)
    versions = {model.id: models.versions(model.id) for model in (brand, trained)}
    for model in (brand, trained):
        retired = published_files.retire(models, environment, model.id)
        assert retired.retired and retired.id not in [one.id for one in models.page().models]
        assert retired.id in [one.id for one in models.page(retired=True).models]
        assert all(not version.published for version in models.versions(model.id))
    assert not list(filled.glob("brand*")) and not list(filled.glob("trained*"))
    for version in models.versions(brand.id):
        assert digest(version.file) == version.sha256
    assert models.versions(trained.id)[0].file == versions[trained.id][0].file
    with pytest.raises(Conflict, match="retired"):
        published_files.rename(models, environment, brand.id, "label")
    for model in (brand, trained):
        assert published_files.restore(models, environment, model.id).retired is None
        assert models.versions(model.id) == versions[model.id]
    assert contents(filled) == before
    assert not (models.home(brand.id) / "retired").exists()
    with pytest.raises(Conflict, match="not retired"):
        published_files.restore(models, environment, brand.id)


def test_an_interrupted_retirement_is_continued_or_undone(models, environment, filled, monkeypatch):
    import_folder(models, filled)
    (brand,) = models.page(search="brand").models
    before, moves = contents(filled), iter(range(100))
    move = published_files._move

    def dies(source, target):
        if next(moves) == 2:
            raise KeyboardInterrupt
        move(source, target)

    for undo in (False, True):
        moves = iter(range(100))
        monkeypatch.setattr(published_files, "_move", dies)
        with pytest.raises(KeyboardInterrupt):
            published_files.retire(models, environment, brand.id)
        monkeypatch.setattr(published_files, "_move", move)
        if not undo:
            published_files.retire(models, environment, brand.id)
            assert not list(filled.glob("brand*"))
        published_files.restore(models, environment, brand.id)
        assert contents(filled) == before
        assert models.versions(brand.id)[0].published == str(filled / "brand_v2.safetensors")


def test_what_has_taken_the_place_of_a_retired_file_stays(models, environment, filled):
    import_folder(models, filled)
    (brand,) = models.page(search="brand").models
    published_files.retire(models, environment, brand.id)
    (filled / "brand_v2.safetensors").write_bytes(b"another")
    with pytest.raises(Conflict, match="move it away"):
        published_files.restore(models, environment, brand.id)
    assert (filled / "brand_v2.safetensors").read_bytes() == b"another"
    assert models.get(brand.id).retired
    (filled / "brand_v2.safetensors").unlink()
    published_files.restore(models, environment, brand.id)


def test_a_model_with_jobs_is_not_retired(models, environment, loras, tmp_path):
    model = published(models, environment, tmp_path)
    Queue(Database(tmp_path / "data")).add([NewJob("train", {}, "x", model=model.id)])
    before = contents(loras)
    for change in (published_files.retire, lambda *where: published_files.rename(*where, "x")):
        with pytest.raises(Conflict, match="wait or run"):
            change(models, environment, model.id)
    assert contents(loras) == before


def test_an_archive_takes_retired_and_imported_models_along(models, environment, filled, tmp_path):
    import_folder(models, filled)
    (brand,) = models.page(search="brand").models
    original = (filled / "brand_v2.safetensors").read_bytes()
    published_files.retire(models, environment, brand.id)
    archive.export_library(Database(tmp_path / "data"), tmp_path / "all.zip")
    new = Database(tmp_path / "new")
    restore.import_library(new, tmp_path / "all.zip")
    there = Models(new)
    (tmp_path / "Lora").rename(tmp_path / "gone")
    (tmp_path / "Used").mkdir()
    elsewhere = Place(tmp_path / "new", tmp_path / "Used")
    assert there.get(brand.id).retired
    published_files.restore(there, elsewhere, brand.id)
    assert (tmp_path / "Used" / "brand_v2.safetensors").read_bytes() == original
    assert there.version(brand.id, 2).file == str(tmp_path / "Used" / "brand_v2.safetensors")
    (sun,) = there.page(search="sun").models
    assert Path(there.version(sun.id, 1).file).is_relative_to(tmp_path / "new")
