"""Watch folders: what is taken in, trained and published, and what happens when a process is killed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lora_scripts_ext.images import excluded
from lora_scripts_ext.jobs import update_record, watching

from .watched import Watched, write_image, write_images

ROOT = Path(__file__).resolve().parent.parent


def silent(*_):
    pass


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


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="processes are forked here")
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
