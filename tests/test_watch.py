"""Watch folders: what is taken in, trained and published, and what happens when a process is killed."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lora_scripts_ext.captions.store import CaptionStore
from lora_scripts_ext.commands import watch as command
from lora_scripts_ext.errors import Refused, UserError
from lora_scripts_ext.images import excluded
from lora_scripts_ext.jobs import publishing, settings, update_record, watch_options, watching
from lora_scripts_ext.library.reviews import Reviews
from lora_scripts_ext.preparation import intake
from lora_scripts_ext.training import held_out

from .watched import DRAWS, Watched, write_image, write_images

ROOT = Path(__file__).resolve().parent.parent


def silent(*_):
    pass


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(held_out, "_DRAWS", DRAWS)


@pytest.fixture
def place(tmp_path, checkpoint):
    return Watched(tmp_path / "library", checkpoint)


def same(one: Path, other: Path) -> bool:
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(first[key].equal(second[key]) for key in first)


def test_a_first_version_then_new_images_then_a_second_one(place):
    write_images(place.arrivals, 0, 8)
    first = place.update()
    images = first.result["images"]
    assert (images["taken"], images["captioned"], images["trained"], images["held_out"]) == (8, 8, 6, 2)
    losses = first.result["held_out"]
    assert losses["new"] < losses["old"] == losses["base"] and losses["difference"] == losses["new"] - losses["old"]
    assert first.result["published"] and first.reason.startswith("Published: on 2 held-out images its loss is")
    assert same(place.published, Path(first.result["file"])) and place.published.with_suffix(".json").is_file()
    first_bytes = load_file(place.published)

    nothing = place.update()
    assert (nothing.state, nothing.reason) == ("done", "There are no new images.")
    assert not nothing.result["published"]

    place.watch(steps=4)
    write_images(place.arrivals, 8, 6)
    second = place.update()
    assert second.result["published"], second.reason
    assert (second.result["steps"], second.result["from_version"]) == (4, 1)
    assert second.result["held_out"]["old"] == pytest.approx(losses["new"], rel=1e-6)
    images = second.result["images"]
    assert (images["new"], images["trained"], images["held_out"]) == (6, 12, 2)
    assert same(place.published, Path(second.result["file"]))
    assert any(not tensor.equal(first_bytes[key]) for key, tensor in load_file(place.published).items())
    # Ours is replaced, not put aside as another's.
    assert not list(place.published.parent.glob("*.bak"))
    newest, oldest = place.models.versions(place.model.id)
    assert (newest.number, newest.parent, newest.published) == (2, oldest.id, str(place.published))
    assert newest.file == second.result["file"] and not newest.facts["refused"]


def test_where_approval_is_required_a_version_that_is_no_worse_waits_for_it(place):
    settings.change(settings.LibrarySettings(place.database), {"require_approval": True})
    write_images(place.arrivals, 0, 6)
    done = place.update()
    assert done.state == "done" and not done.result["published"], done.reason
    assert done.reason.startswith("It is not published") and "2 held-out images" in done.reason
    version = place.models.versions(place.model.id)[0]
    # It is no worse: the next one starts from it.
    assert (version.published, version.facts["refused"]) == ("", False)
    choice = publishing.Choice(Path(version.file), 0.8)
    with pytest.raises(Refused, match="not approved"):
        publishing.publish(place.database, place.environment, place.model, version, choice)
    assert not place.published.exists()
    Reviews(place.database).add(version.id, "approved", who="Li")
    publishing.publish(place.database, place.environment, place.model, version, choice)
    assert same(place.published, Path(version.file))


def test_a_version_that_is_worse_is_not_published_and_the_next_continues_from_the_one_before(place):
    place.watch(train={"learning_rate": 0.05})
    write_images(place.arrivals, 0, 8)
    first = place.update()
    write_images(place.arrivals, 8, 4)
    place.watch(train={"learning_rate": 1.0, "lr_scheduler": "constant"})
    refused = place.update()
    assert "held_out" in refused.result, refused.reason
    losses = refused.result["held_out"]
    assert refused.state == "done" and not refused.result["published"]
    assert losses["difference"] > losses["tolerance"]
    assert refused.reason.startswith("Not published:") and "that of version 1" in refused.reason
    assert Path(refused.result["file"]).is_file() and same(place.published, Path(first.result["file"]))
    newest = place.models.versions(place.model.id)[0]
    assert (newest.number, newest.published, newest.facts["refused"]) == (2, "", True)

    assert place.update().reason == "There are no new images."
    place.watch(train={"learning_rate": 0.05})
    write_images(place.arrivals, 12, 4)
    third = place.update()
    assert (third.result["from_version"], third.result["init_lora"]) == (1, first.result["file"])
    # Those of the night before are trained on, too.
    assert third.result["images"]["trained"] + third.result["images"]["held_out"] == 16


def test_what_a_version_has_been_trained_on_is_not_held_out_for_the_next(place):
    write_images(place.models.images(place.model), 0, 8)
    config = {
        **place.model.config, "train_data_dir": str(place.models.images(place.model)), "output_name": "cars",
        "output_dir": str(place.home / "runs" / "1"), "trigger_word": "crz", "max_steps": 1,
    }  # fmt: skip
    place.add(config, model=place.model.id)
    assert place.perform().state == "done"
    write_images(place.arrivals, 8, 3)
    few = place.update()
    assert few.state == "done" and "3 images are new to the last version, too few" in few.reason
    write_images(place.arrivals, 11, 3)
    job = place.update()
    split = update_record.read_split(Path(job.result["file"]).parent)
    assert len(split.held_out) == 2 and all(int(name[-6:-4]) >= 8 for name in split.held_out)
    assert len(split.trained) == 12


def test_bad_images_are_excluded_once_and_what_a_person_takes_back_stays(place):
    write_images(place.arrivals, 0, 8)
    write_image(place.arrivals / "tiny.png", 90, side=8)
    (place.arrivals / "cut.png").write_bytes((place.arrivals / "tiny.png").read_bytes()[:60])
    shutil.copyfile(place.arrivals / "red_car_00.png", place.arrivals / "twin.png")
    first = place.update()
    assert first.result["images"]["excluded"] == 3, first.result
    folder = place.models.images(place.model)
    gone = excluded.read(folder)
    assert {"tiny.png", "cut.png"} < gone
    excluded.write(folder, gone - {"tiny.png"})
    write_images(place.arrivals, 8, 4)
    second = place.update()
    assert second.result["images"]["excluded"] == 0
    assert "tiny.png" not in excluded.read(folder)


STAGES = [
    "before:images/blue_car_09.png",
    "after:watch/taken.json",
    "after:images/metadata.csv",
    "after:split.json",
    "after:state/step-00000002",
    "before:/cars.safetensors",
    "after:published/cars.safetensors",
    "after:watch/seen.json",
]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")
def test_an_update_that_is_killed_at_every_stage_ends_as_one_that_never_was(tmp_path, checkpoint):
    results = []
    for name, kills in (("killed", STAGES), ("whole", [])):
        (tmp_path / name).mkdir()
        place = Watched(tmp_path / name / "library", checkpoint, train={"save_steps": 2})
        write_images(place.arrivals, 0, 8)
        assert place.update().result["published"]
        write_images(place.arrivals, 8, 4)
        job = watching.run_now(place.queue, place.environment, place.model.id)

        command = [sys.executable, "-m", "tests.watched", str(place.folder), str(checkpoint), *kills]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.stdout.strip() == str([9] * len(kills) + [0]), done.stdout + done.stderr
        results.append((place.queue.get(job.id), load_file(place.published), place))
    (killed, tensors, place), (whole, expected, _) = results
    assert (killed.state, killed.fence, whole.fence) == ("done", len(STAGES) + 1, 1), killed.reason
    assert killed.result["published"] and killed.result["held_out"] == whole.result["held_out"]
    assert {key: killed.result["images"][key] for key in ("new", "trained", "held_out")} == {
        key: whole.result["images"][key] for key in ("new", "trained", "held_out")
    }
    assert all(tensor.equal(expected[key]) for key, tensor in tensors.items())
    assert [version.number for version in place.models.versions(place.model.id)] == [2, 1]
    assert len(list(place.models.images(place.model).glob("*.png"))) == 12
    assert not list(place.published.parent.glob("*.bak"))


def test_what_is_taken_in(tmp_path):
    source, into = tmp_path / "new", tmp_path / "images"
    into.mkdir()
    write_images(source, 0, 2)
    write_image(source / "10_vans" / "van.png", 5)
    write_image(into / "red_car_00.png", 77)
    (source / "metadata.csv").write_text("filename,prompt\nred_car_00.png,a red car\n", encoding="utf-8")
    (source / "blue_car_01.txt").write_text("a blue car", encoding="utf-8")
    with zipfile.ZipFile(source / "more.zip", "w") as archive:
        archive.write(source / "10_vans" / "van.png", "old_truck.png")
        archive.writestr("old_truck.txt", "an old truck")
        archive.writestr("evil/../../up.png", b"")
    (source / "broken.zip").write_bytes(b"PK no")
    for name in ("half.png.part", "photo.jpg.crdownload"):
        shutil.copyfile(source / "red_car_00.png", source / name)
    (source / "empty.png").touch()
    taken = intake.Taken(tmp_path / "taken.json")
    found = intake.stamps(source)
    assert set(found) == {"red_car_00.png", "blue_car_01.png", "10_vans/van.png", "more.zip", "broken.zip"}
    result = intake.take_in(source, into, taken.new(found), taken, progress=silent, check=silent)
    # The one that was there has another content; "10_vans" says how often its images are shown.
    names = ["10_vans/van.png", "blue_car_01.png", "old_truck.png", "red_car_00_2.png"]
    assert sorted(result.names) == names
    assert {one.name for one in result.skipped} == {"evil/../../up.png", "broken.zip"}
    captions = CaptionStore.open(into)
    assert [captions.entry(name).prompt for name in names] == ["", "a blue car", "an old truck", "a red car"]
    assert sorted(path.name for path in into.rglob("*.png")) == sorted(
        ["van.png", "blue_car_01.png", "old_truck.png", "red_car_00.png", "red_car_00_2.png"]
    )
    # A second time, also without the list of what was taken, nothing is stored twice.
    for again in (intake.Taken(tmp_path / "taken.json"), intake.Taken(tmp_path / "lost.json")):
        intake.take_in(source, into, again.new(found), again, progress=silent, check=silent)
        assert again.new(found) == {}
    assert len(list(into.rglob("*.png"))) == 5
    write_image(source / "blue_car_01.png", 6)
    changed = taken.new(intake.stamps(source))
    assert set(changed) == {"blue_car_01.png"}


def test_a_folder_of_the_users_own_is_watched_in_place(place):
    own = place.arrivals
    model = place.models.create("vans", "car", trigger_word="vnz", folder=str(own), config=place.model.config)
    with pytest.raises(UserError, match="lie in"):
        watch_options.checked({"folder": str(place.home)}, place.models, place.environment, model)
    config = watch_options.checked(
        {"captioner": "names", "settle_seconds": 0.2}, place.models, place.environment, model
    )
    place.watches.put(model.id, config["folder"], config)
    write_images(own, 0, 8)
    home = place.models.home(model.id)
    assert len(update_record.pending(home, own, own)) == 8
    watching.run_now(place.queue, place.environment, model.id)
    done = place.perform()
    assert done.result["published"], done.reason
    assert (home / "published" / "vans.safetensors").is_file()
    assert update_record.pending(home, own, own) == {}


def test_the_command_line(place, capsys):
    def watch(*arguments, code=0):
        assert command.main([*arguments, "--data-dir", str(place.folder)]) == code
        return capsys.readouterr()

    place.watches.remove(place.model.id)
    assert watch("list").out == ""
    assert "cars has no watch" not in watch("remove", "cars", code=2).err
    added = json.loads(
        watch("add", "Cars", "--folder", str(place.arrivals), "--hour", "12:30", "--set", "captioner=names",
              "--set", "new_images=9", "--train", "learning_rate=5e-5").out
    )  # fmt: skip
    assert (added["hour"], added["captioner"], added["new_images"]) == ("12:30", "names", 9)
    assert added["train"] == {"learning_rate": "5e-5"} or added["train"] == {"learning_rate": 5e-05}
    assert json.loads(watch("list").out) == added
    queued = json.loads(watch("run-now", place.model.id).out)
    job = place.queue.get(queued["id"])
    assert (job.kind, job.config["train"]["learning_rate"]) == ("update", 5e-05)
    assert "has not ended" in watch("run-now", "cars", code=2).err
    assert "no model" in watch("run-now", "boats", code=2).err
    assert "did you mean" in watch("add", "cars", "--set", "hours=3", code=2).err
    watch("remove", "cars")
    assert watch("list").out == ""


def test_the_page_on_watch_folders_has_every_key_with_its_default():
    page = (ROOT / "docs" / "watch.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", page, re.MULTILINE))
    fields = dataclasses.fields(watch_options.WatchOptions)
    defaults = {
        field.name: field.default if field.default is not dataclasses.MISSING else field.default_factory()
        for field in fields
    }
    assert rows == {key: f"`{value}`" if value != "" else "*empty*" for key, value in defaults.items()}


def test_the_fetch_command_of_the_page_fetches_the_cars_once(tmp_path):
    page = (ROOT / "docs" / "watch.md").read_text(encoding="utf-8")
    (tmp_path / "fetch_cars.py").write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], encoding="utf-8")
    served = tmp_path / "shop"
    write_image(served / "photos" / "17-front.png", 3)
    cars = [
        {"id": 17, "make": "Fiat", "model": "500", "colour": "red", "photos": ["/photos/17-front.png", "/gone.png"]}
    ]
    (served / "cars.json").write_text(json.dumps(cars), encoding="utf-8")
    handler = partial(Quiet, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/cars.json"
        command = [sys.executable, str(tmp_path / "fetch_cars.py"), url, str(tmp_path / "new")]
        first, second = (subprocess.run(command, capture_output=True, text=True) for _ in range(2))
        server.shutdown()
    assert (first.returncode, first.stdout.splitlines()[-1]) == (1, "1 photos fetched, 1 failed")
    assert second.stdout.splitlines()[-1] == "0 photos fetched, 1 failed"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["17-1.png", "17-1.txt"]
    assert (tmp_path / "new" / "17-1.txt").read_text() == "a red Fiat 500"
    assert (tmp_path / "new" / "17-1.png").read_bytes() == (served / "photos" / "17-front.png").read_bytes()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without writing about it."""

    def log_message(self, *_):
        pass
