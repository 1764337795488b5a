"""What a run writes and publishes overwrites only its own files and keeps captions private."""

import json
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lora_scripts_ext import crash
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.training import publication, run

from . import shop
from .test_run import same_tensors, train


def lora(path: Path, value: float, card: dict | None = None, image: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"w": torch.full((2,), value)}, path)
    if card is not None:
        path.with_suffix(".json").write_text(json.dumps(card))
    if image is not None:
        path.with_suffix(".png").write_bytes(image)
    return path


def test_a_lora_of_someone_else_is_backed_up_and_the_user_informed(tmp_path):
    theirs = lora(tmp_path / "Lora" / "brand.safetensors", 1, {"notes": "bought"}, b"theirs")
    before = theirs.read_bytes()
    warnings = []
    mine = lora(tmp_path / "run" / "brand.safetensors", 2, {"notes": ""}, b"ours")
    published = publication.publish(mine, tmp_path / "Lora", warnings.append)
    assert published.read_bytes() == mine.read_bytes()
    (warning,) = warnings
    (backup,) = (tmp_path / "Lora").glob("brand.safetensors.*.bak")
    assert backup.name in warning
    assert backup.read_bytes() == before
    (card,) = (tmp_path / "Lora").glob("brand.json.*.bak")
    assert json.loads(card.read_text()) == {"notes": "bought"}
    (image,) = (tmp_path / "Lora").glob("brand.png.*.bak")
    assert image.read_bytes() == b"theirs"
    assert published.with_suffix(".png").read_bytes() == b"ours"
    assert "bought" not in published.with_suffix(".json").read_text()


def test_our_own_lora_is_replaced_and_what_the_user_chose_stays(tmp_path):
    first = lora(tmp_path / "run" / "brand.safetensors", 1, {"notes": ""}, b"first")
    published = publication.publish(first, tmp_path / "Lora", pytest.fail)
    published.with_suffix(".json").write_text(json.dumps({"notes": "my own"}))
    second = lora(tmp_path / "run" / "brand.safetensors", 2, {"notes": ""}, b"second")
    publication.publish(second, tmp_path / "Lora", pytest.fail)
    assert published.read_bytes() == second.read_bytes()
    assert published.with_suffix(".png").read_bytes() == b"second"
    assert json.loads(published.with_suffix(".json").read_text())["notes"] == "my own"
    published.with_suffix(".png").write_bytes(b"chosen by the user")
    third = lora(tmp_path / "run" / "brand.safetensors", 3, {"notes": ""}, b"third")
    publication.publish(third, tmp_path / "Lora", pytest.fail)
    assert published.read_bytes() == third.read_bytes()
    assert published.with_suffix(".png").read_bytes() == b"chosen by the user"
    assert not list((tmp_path / "Lora").glob("*.bak"))


def test_a_card_that_is_none_is_moved_away_rather_than_losing_the_training(tmp_path):
    (tmp_path / "Lora").mkdir()
    (tmp_path / "Lora" / "brand.json").write_text("{")
    warnings = []
    published = publication.publish(
        lora(tmp_path / "run" / "brand.safetensors", 1, {"notes": ""}), tmp_path / "Lora", warnings.append
    )
    assert json.loads(published.with_suffix(".json").read_text())["notes"] == ""
    (backup,) = (tmp_path / "Lora").glob("brand.json.*.bak")
    assert backup.read_text() == "{"
    assert backup.name in warnings[0]


def test_a_run_backs_up_what_it_finds_where_it_publishes(data, checkpoint, tmp_path):
    theirs = lora(tmp_path / "Lora" / "out.safetensors", 1)

    class Elsewhere(StandaloneHost):
        def lora_dir(self) -> Path:
            return tmp_path / "Lora"

    config = shop.make_config(data, checkpoint, tmp_path / "out", epochs=1)
    events = []
    for seed in (1, 2):
        config = shop.make_config(data, checkpoint, tmp_path / "out", epochs=1, seed=seed)
        result = run.train(config, Elsewhere(), report=events.append)
        assert result.lora == theirs
        assert same_tensors(result.lora, tmp_path / "out" / "out.safetensors")
    assert len(list((tmp_path / "Lora").glob("*.bak"))) == 1
    assert sum("was not written by this run" in event.get("text", "") for event in events) == 1


def test_captions_can_be_kept_out_of_everything_beside_the_lora(data, checkpoint, tmp_path):
    values = {"epochs": 1, "preview_epochs": 1, "preview_steps": 1, "save_epochs": 1}
    for private in (False, True):
        out = tmp_path / f"{private}"
        train(shop.make_config(data, checkpoint, out, save_captions=not private, **values))
        text = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file() and "cache" not in path.parts)
        images = list(out.rglob("*.png"))
        assert len(images) == 5
        parameters = [Image.open(path).info["parameters"] for path in images]
        assert ("on a table" in " ".join(parameters)) is not private
        assert (b"on a table" in text) is not private
        assert all("Steps: 1, Sampler: Euler" in one for one in parameters)


def test_files_set_aside_twice_in_a_second_do_not_overwrite_each_other(data, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda *_: "20260101-000000")
    for seed in range(3):
        train(shop.make_config(data, checkpoint, tmp_path / "out", epochs=1, seed=seed))
    assert len(list((tmp_path / "out" / "previous").glob("*/out.safetensors"))) == 2


def test_a_full_disk_is_a_sentence():
    assert crash.sentence(OSError(28, "No space left on device"), None).startswith("the disk is full")
