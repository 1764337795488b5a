"""The whole library as one file: out, in elsewhere, and nothing by halves."""

import json
import os
import shutil
import sqlite3
import stat
import struct
import zipfile
from contextlib import closing

import pytest

from lora_scripts_ext.__main__ import main
from lora_scripts_ext.errors import Conflict, UserError
from lora_scripts_ext.images import edited
from lora_scripts_ext.images.edit import Edit
from lora_scripts_ext.jobs import drafts, of_model
from lora_scripts_ext.jobs.view import job_view
from lora_scripts_ext.library import archive, restore
from lora_scripts_ext.library.database import Database
from lora_scripts_ext.library.job import NewJob
from lora_scripts_ext.library.models import Models
from lora_scripts_ext.library.queue import Queue
from lora_scripts_ext.library.relocation import Relocation

from . import shop
from .place import Place

EDIT = Edit(90, (0.0, 0.25, 1.0, 0.75))


@pytest.fixture(scope="module")
def filled(tmp_path_factory, checkpoint):
    """A library with a trained model, one whose images lie elsewhere, and jobs that wait, run and have failed."""
    folder = tmp_path_factory.mktemp("old")
    place = Place(folder / "data")
    models = Models(place.queue._database)
    small = shop.settings(folder, checkpoint, folder)
    small = {key: value for key, value in small.items() if key not in (*drafts.OF_THE_MODEL, "device")}
    small |= {
        "device": "cpu",
        "num_repeats": 1,
        "flip": False,
        "lr_warmup_steps": 0,
        "save_epochs": 0,
        "preview_epochs": 0,
        "target": "attention",
    }
    shop.write_images(folder / "shop")
    edited.write(folder / "shop", {"00.png": EDIT})
    own = models.create("brand", "brand_style", trigger_word="brnd", config=small)
    shop.write_images(models.images(own))
    elsewhere = models.create("elsewhere", "product", config=small, folder=str(folder / "shop"))
    train(place, models, own)
    assert place.perform().state == "done"
    train(place, models, own, init_lora=models.versions(own.id)[0].file)
    train(place, models, elsewhere)
    place.add(shop.settings(folder / "shop", checkpoint, place.folder / "plain"))
    place.queue.cancel(place.add({"train_data_dir": str(folder)}, "check").id)
    with place.queue._database.writing() as connection:
        connection.execute("INSERT INTO api_keys VALUES ('1', 'shop', 'DIGEST-OF-A-KEY', 'write', 1, NULL)")
    running = place.claim()
    assert running.job.model == own.id
    yield place
    place.queue._database.close()


def train(place, models, model, **config):
    return of_model.train(place.queue, place.environment, models, model, NewJob("train", config))


@pytest.fixture(scope="module")
def exported(filled, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "library.zip"
    archive.export_library(filled.queue._database, path)
    return path


def views(place, relocation=None):
    views = [job_view(place.queue, job, whole=True) for job in place.queue.page().jobs]
    for view in views:
        for key in ("changes", "attempts", "changed"):
            del view[key]
    return relocation.tree(views) if relocation else views


def versions(place):
    models = Models(place.queue._database)
    return [(model, models.versions(model.id)) for model in models.page().models]


def test_an_imported_library_lists_the_same_and_its_jobs_run(filled, exported, tmp_path):
    new = Place(tmp_path / "new")
    summary = restore.import_library(new.queue._database, exported)
    assert (summary.models, summary.versions, summary.jobs) == (2, 1, 5)
    moves = [(str(filled.folder), new.folder)]
    models = Models(new.queue._database)
    elsewhere = next(model for model in models.page().models if model.name == "elsewhere")
    moves.append((str(filled.folder.parent / "shop"), models.images(elsewhere)))
    old = views(filled, Relocation(moves, windows=False))
    mine = views(new)
    # What ran is queued again.
    was, now = next(view for view in old if view["state"] == "starting"), {view["id"]: view for view in mine}
    assert now[was["id"]]["state"] == "queued"
    for view in old:
        for key in ("state", "reason", "status", "waits_for"):
            if view is was:
                view[key] = now[view["id"]][key]
    assert sorted(old, key=lambda view: view["id"]) == sorted(mine, key=lambda view: view["id"])
    model, (version,) = next((model, found) for model, found in versions(new) if model.name == "brand")
    assert version.file == str(new.folder / "models" / model.id / "runs" / "1" / "brand.safetensors")
    assert models.images(elsewhere).is_dir() and elsewhere.folder == ""
    assert edited.read(models.images(elsewhere)) == {"00.png": EDIT}
    assert main(["library", "check", "--data-dir", str(new.folder)]) == 0
    # The old files are not needed any more.
    states = {new.perform().state for _ in range(2)}
    assert states == {"done"}
    (second, first) = models.versions(model.id)
    assert second.parent == first.id
    assert str(filled.folder) not in "".join(map(str, models.versions(model.id)))


def test_keys_and_caches_stay_at_home(exported):
    with zipfile.ZipFile(exported) as opened:
        names = opened.namelist()
        tables = opened.read("library.sqlite3")
    assert b"DIGEST-OF-A-KEY" not in tables
    assert not [name for name in names if "/cache/" in name or name.endswith(".lock")]
    assert not [name for name in names if "runs/1/state" in name]
    assert any(name.endswith("runs/1/brand.safetensors") for name in names)


def test_every_table_comes_along_or_is_private(filled):
    with filled.queue._database.reading() as connection:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    private = {"api_keys", "requests", "uploads", "deliveries", "sqlite_sequence"}
    assert tables - private == set(restore._TABLES)


def test_a_library_that_holds_something_is_not_touched(exported, tmp_path):
    database = Database(tmp_path)
    Models(database).create("mine", "car")
    with pytest.raises(Conflict, match="--data-dir"):
        restore.import_library(database, exported)
    assert [model.name for model in Models(database).page().models] == ["mine"]
    other = Database(tmp_path / "other")
    (tmp_path / "other" / "jobs" / "x").mkdir(parents=True)
    with pytest.raises(Conflict, match="jobs"):
        restore.import_library(other, exported)


def changed(exported, path, edit):
    """A copy of the archive with other members: ``edit`` gets name and content, and gives those to write."""
    with zipfile.ZipFile(exported) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            for name, content in edit(member.filename, old.read(member)):
                new.writestr(name, content)
    return path


def with_manifest(exported, path, **fields):
    def edit(name, content):
        yield name, json.dumps({**json.loads(content), **fields}) if name == "library.json" else content

    return changed(exported, path, edit)


def with_member(exported, path, member, content=b"x", count=1):
    """The archive with one more member, of which the manifest knows."""

    def edit(name, old):
        if name != "library.json":
            yield name, old
            return
        manifest = json.loads(old)
        manifest["files"] += count
        manifest["bytes"] += len(content)
        yield name, json.dumps(manifest)
        yield member, content

    return changed(exported, path, edit)


def with_tables(exported, path, tmp_path, *statements):
    def edit(name, content):
        if name == "library.sqlite3":
            file = tmp_path / "tables"
            file.write_bytes(content)
            with closing(sqlite3.connect(file)) as connection:
                for statement in statements:
                    connection.execute(statement)
                connection.commit()
            content = file.read_bytes()
        yield name, content

    return changed(exported, path, edit)


def link(name):
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


HOSTILE = [
    "../evil.txt", "data/../../evil.txt", "/etc/evil", "data/jobs/..\\evil", "C:/evil/x/y", "data/service.yaml",
    "data/library.sqlite3", "jobs/x/y", "data/.hidden/x", "data/jobs/a\x01/b", "data//jobs/x", link("data/jobs/link"),
]  # fmt: skip


@pytest.mark.parametrize("member", HOSTILE, ids=str)
def test_nothing_gets_out_of_the_folders_of_jobs_and_models(exported, tmp_path, member):
    path = with_member(exported, tmp_path / "bad.zip", member)
    assert_refused(path, tmp_path, "belong")


def assert_refused(path, tmp_path, says):
    """The import is refused, and there is no trace of it."""
    database = Database(tmp_path / "new")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=says) as error:
        restore.import_library(database, path)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before
    assert Models(database).page().total == 0


def test_bombs_newer_versions_and_what_is_damaged(exported, tmp_path):
    bad = tmp_path / "bad.zip"
    assert_refused(with_member(exported, bad, "data/jobs/x/y", b"\0" * (64 << 20)), tmp_path, "far larger")
    assert_refused(with_manifest(exported, bad, format=99), tmp_path, "newer")
    assert_refused(with_manifest(exported, bad, tables=99), tmp_path, "newer")
    assert_refused(with_manifest(exported, bad, files=1), tmp_path, "missing")
    assert_refused(with_manifest(exported, bad, moves=[["/x", "../y"]]), tmp_path, "no library")
    assert_refused(with_member(exported, bad, "data/jobs/twice", count=2), tmp_path, "belong|missing|twice")
    bad.write_bytes(exported.read_bytes()[:-2000])
    assert_refused(bad, tmp_path, "damaged|no library")
    content = bytearray(exported.read_bytes())
    content[len(content) // 2] ^= 0xFF
    bad.write_bytes(content)
    assert_refused(bad, tmp_path, "damaged")
    with zipfile.ZipFile(bad, "w") as opened:
        opened.writestr("readme.txt", "hello")
    assert_refused(bad, tmp_path, "no library")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON jobs BEGIN DELETE FROM models; END",
        "CREATE VIEW v AS SELECT 1",
        "PRAGMA user_version = 0",
        "INSERT INTO versions (id, model, number, file, created) VALUES ('x', 'gone', 1, '', 0)",
        "UPDATE jobs SET config = 'no json'",
        "DROP TABLE versions",
        'ALTER TABLE models ADD COLUMN "x) SELECT 1 --" TEXT',
        "INSERT INTO models (id, name, kind, created, changed) VALUES ('../../x', 'x', 'car', 0, 0)",
        "UPDATE models SET name = '../x' WHERE name = 'brand'",
        "UPDATE jobs SET result = x'00'",
    ],
)
def test_hostile_or_damaged_tables_are_refused(exported, tmp_path, statement):
    bad = with_tables(exported, tmp_path / "bad.zip", tmp_path, statement)
    assert_refused(bad, tmp_path, "tables are damaged|no JSON|none of ours|called")


def test_an_import_that_fails_at_its_end_leaves_nothing(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(restore, "_require_no_rows", fails_the_second_time())
    assert_refused(exported, tmp_path, "Now it fails")


def fails_the_second_time():
    calls = iter([False, True])

    def require(connection):
        if next(calls):
            raise UserError("Now it fails.")

    return require


def test_an_import_that_was_killed_is_cleared_away_by_the_next(exported, tmp_path):
    database = Database(tmp_path)
    # As a process leaves it that is killed before the tables are written.
    journal = {"id": "1", "names": ["jobs", "models", "../other"]}
    (tmp_path / "import.json").write_text(json.dumps(journal), encoding="utf-8")
    for name in ("jobs", "models"):
        (tmp_path / name / "half").mkdir(parents=True)
    restore.import_library(database, exported)
    assert not (tmp_path / "jobs" / "half").exists()
    assert not (tmp_path / "import.json").exists()
    assert Models(database).page().total == 2
    # Killed right after the tables were written: nothing may be deleted, whatever is in the library by then.
    with database.reading() as connection:
        journal["id"] = connection.execute("SELECT value FROM settings WHERE key = 'imported'").fetchone()[0]
    (tmp_path / "import.json").write_text(json.dumps(journal), encoding="utf-8")
    with database.writing() as connection:
        connection.execute("DELETE FROM models")
        connection.execute("DELETE FROM jobs")
    with pytest.raises(Conflict, match="jobs"):
        restore.import_library(database, exported)
    assert list((tmp_path / "models").iterdir())


def test_a_large_file_is_streamed_with_64_bit_sizes(tmp_path, monkeypatch):
    database = Database(tmp_path / "old")
    model = Models(database).create("brand", "car")
    image = Models(database).images(model) / "large.bin"
    image.parent.mkdir(parents=True)
    image.write_bytes(os.urandom(3 << 20))
    monkeypatch.setattr(archive, "_LARGE", 1 << 20)
    path = tmp_path / "library.zip"
    archive.export_library(database, path)
    with zipfile.ZipFile(path) as opened:
        name = next(name for name in opened.namelist() if name.endswith("large.bin"))
        header = opened.getinfo(name).header_offset
    # The local header holds the extra field of Zip64 (APPNOTE 4.5.3).
    start = header + 30 + len(name.encode())
    assert struct.unpack("<H", path.read_bytes()[start : start + 2])[0] == 1
    new = Database(tmp_path / "new")
    restore.import_library(new, path)
    assert (Models(new).images(model) / "large.bin").read_bytes() == image.read_bytes()


def test_paths_of_windows_become_paths_of_here(tmp_path):
    moves = [("C:\\Data\\lora", tmp_path), ("D:\\shop\\Fotos", tmp_path / "models" / "1" / "images")]
    relocation = Relocation(moves, windows=True)
    tree = {"a": "c:/data/LORA\\jobs\\x.png", "b": ["D:\\shop\\fotos\\Ä\\b.png", "D:\\shop\\fotos2\\b.png", 3, None]}
    assert relocation.tree(tree) == {
        "a": str(tmp_path / "jobs" / "x.png"),
        "b": [str(tmp_path / "models" / "1" / "images" / "Ä" / "b.png"), "D:\\shop\\fotos2\\b.png", 3, None],
    }
    here = Relocation([("/data", tmp_path), ("/data/inner", tmp_path / "other")], windows=False)
    assert here.path("/data/inner/x") == str(tmp_path / "other" / "x")
    assert here.path("/database") == "/database"
    assert here.path("a lamp, on /data") == "a lamp, on /data"


def test_the_command(filled, tmp_path, capsys):
    path = tmp_path / "library.zip"
    assert main(["library", "export", str(path), "--data-dir", str(filled.folder)]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == 2
    new = tmp_path / "new"
    assert main(["library", "import", str(path), "--data-dir", str(new)]) == 0
    assert main(["library", "import", str(path), "--data-dir", str(new)]) == 2
    assert "--data-dir" in capsys.readouterr().err
    shutil.rmtree(new / "models")
    assert main(["library", "check", "--data-dir", str(new)]) == 1
    assert "brand, version 1" in json.loads(capsys.readouterr().out)["problems"][0]
    assert main(["library", "import", str(tmp_path / "no.zip"), "--data-dir", str(tmp_path / "x")]) == 2
    assert Queue(Database(new)).page().jobs
