"""Two products compared: what is drawn, written and measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lora_scripts_ext import marks
from lora_scripts_ext.commands import catalogue_compare
from lora_scripts_ext.comparison import bleeding, frame, specifications
from lora_scripts_ext.comparison.card import Specification
from lora_scripts_ext.comparison.compare import compare
from lora_scripts_ext.comparison.comparison import Comparison, Product
from lora_scripts_ext.contract import WeightedLora
from lora_scripts_ext.errors import UserError

from . import models

RED, BLUE = np.array([200, 30, 30]), np.array([30, 30, 200])
LEFT = Product("Red", "a red shoe", (WeightedLora(Path("red.safetensors"), 0.5),))
RIGHT = Product("Blue", "a blue bag", (WeightedLora(Path("blue.safetensors")),))


def plain(colour, size=(64, 64)):
    return Image.new("RGB", size, tuple(map(int, colour)))


def mixed(share, size=(128, 64)):
    """Red and blue halves into which a share of the other's colour has bled."""
    image = plain((1 - share) * RED + share * BLUE, size)
    image.paste(plain(share * RED + (1 - share) * BLUE, size), (size[0] // 2, 0))
    return image


class Painter:
    """Draws the red product red, the blue one blue; the weaker the LoRAs, the more bleeds in regions."""

    model_name, model_hash, resolution, cfg_scale = "painter", "ab" * 32, 128, 7.0

    def __init__(self, lacking=""):
        self.lacking, self.requests = lacking, []

    def lacks(self, request):
        return self.lacking if request.regions else ""

    def draw(self, request):
        self.requests.append(request)
        size = request.width, request.height
        if request.regions:
            return [mixed(abs(1 - request.regions[1].loras[0].weight) / 2, size)]
        return [plain(RED if "red" in request.prompt else BLUE, size)]


def test_bleeding_is_nothing_in_clean_halves_and_one_in_between():
    red, blue = plain(RED, (128, 64)), plain(BLUE, (128, 64))
    assert bleeding.bleeding(mixed(0.0), red, blue) == 0
    assert bleeding.bleeding(mixed(0.5), red, blue) == pytest.approx(1)
    # A quarter of the way: a third as far from its own as from the other.
    for half in bleeding.halves(mixed(0.25), red, blue):
        assert half.bleeding == pytest.approx(1 / 3, abs=0.02)
    assert bleeding.bleeding(mixed(1.0), red, blue) == float("inf")
    assert bleeding.bleeding(red, red, red) == 1


@pytest.mark.parametrize(("width", "blend"), [(128, 0), (128, 16), (130, 33), (62, 500)])
def test_the_masks_of_the_halves_add_up(width, blend):
    left, right = (np.asarray(mask, int) for mask in frame.halves(width, 8, blend))
    assert left.shape == (8, width) and np.all(left + right == 255)
    assert np.all(np.diff(left[0]) <= 0)
    inside = np.count_nonzero((left[0] > 0) & (left[0] < 255))
    assert inside == pytest.approx(min(blend, width), abs=2)
    assert left[0].mean() == pytest.approx(127.5, abs=1)


def test_pictures_frames_and_card_are_written_with_their_marks(tmp_path):
    painter, seen = Painter(), []
    comparison = Comparison(
        LEFT,
        RIGHT,
        (Specification("Price", "1", "2"),),
        prompt="on a table",
        negative="blurry",
        weights=(0.6, 0.9, 1.2),
    )
    result = compare(comparison, painter, tmp_path, lambda *counts: seen.append(counts))
    names = ["both-0.6", "both-0.9", "both-1.2", "card", "left", "left-alone", "right", "right-alone"]
    assert sorted(path.stem for path in tmp_path.iterdir()) == names
    assert result.best is not None and result.best.weight == 0.9
    first, second, third = (one.bleeding for one in result.frames)
    assert second < third < first
    assert seen[-1] == (7, 7, "images") and len(painter.requests) == 7
    both = painter.requests[-1]
    assert [region.prompt for region in both.regions] == ["a red shoe", "a blue bag"] and both.prompt == "on a table"
    assert [region.loras[0].weight for region in both.regions] == pytest.approx([0.6, 1.2])
    assert both.width == 2 * both.height and both.loras == ()
    alone = painter.requests[0]
    assert alone.prompt == "a red shoe, on a table" and alone.loras == LEFT.loras
    found = marks.read(tmp_path / "both-0.9.png")
    assert found.sources == ("trainedAlgorithmicMedia",) and found.labels == 1
    assert found.parameters.startswith("a red shoe <lora:red:0.45> | a blue bag <lora:blue:0.9> | on a table\n")
    assert marks.read(tmp_path / "card.png").sources == ("trainedAlgorithmicMedia",)


class Killed(Exception):
    """The process ends here."""


def test_what_is_drawn_already_is_not_drawn_again(tmp_path):
    comparison = Comparison(LEFT, RIGHT, weights=(0.6, 0.9))

    def drawn(changed):
        painter = Painter()
        return compare(changed, painter, tmp_path), len(painter.requests)

    def killed(done, total, what):
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        compare(comparison, Painter(), tmp_path, killed)
    first, count = drawn(comparison)
    assert count == 3
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert drawn(comparison) == (first, 0) and {path: path.read_bytes() for path in files} == files
    # Other names and rows are another card; another blend, weight or seed other images.
    assert drawn(replace(comparison, title="Which?"))[1] == 0
    assert (tmp_path / "card.png").read_bytes() != files[tmp_path / "card.png"]
    assert drawn(replace(comparison, blend=0.25))[1] == 2
    assert drawn(replace(comparison, blend=0.25, weights=(0.6, 1.0)))[1] == 1
    without = replace(comparison, left=replace(LEFT, loras=(WeightedLora(Path("other.safetensors")),)))
    assert drawn(without)[1] == 4
    (tmp_path / "right.png").write_bytes(b"no image")
    assert drawn(without)[1] == 1
    assert drawn(replace(without, seed=2))[1] == 6


def test_a_photo_stays_as_it_is_and_the_card_says_that_it_is_composed(tmp_path):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8))
    result = compare(Comparison(Product("Mine", photo=photo), RIGHT), Painter(), tmp_path)
    assert [path.name for path in result.pictures] == ["right.png"] and result.frames == () and result.best is None
    assert any("A photo stays as it is" in warning for warning in result.warnings)
    assert marks.read(tmp_path / "card.png").sources == ("compositeWithTrainedAlgorithmicMedia",)
    drawn, wanted = np.asarray(Image.open(result.card).convert("RGB")), np.asarray(photo)
    spots = np.argwhere(np.all(drawn == wanted[0, 0], axis=-1))
    assert any(np.array_equal(drawn[y : y + 70, x : x + 90], wanted) for y, x in spots)


def test_two_photos_need_no_model_and_no_label(tmp_path):
    result = compare(Comparison(Product("Mine", photo=plain(RED)), Product("Yours", photo=plain(BLUE))), None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["card.png"] and result.pictures == ()
    assert marks.read(result.card).sources == ()


def test_without_regions_there_is_the_card(tmp_path):
    result = compare(Comparison(LEFT, RIGHT), Painter("No regions here."), tmp_path)
    assert result.frames == () and result.card.exists()
    assert result.warnings[0] == "There is no image of both products, only the card. No regions here."


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"right": Product("Blue")}, "right: there is neither a prompt nor a photo"),
        ({"weights": ()}, "weights is empty"),
    ],
)
def test_what_is_missing_is_said(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        compare(replace(Comparison(LEFT, RIGHT), **changes), Painter(), tmp_path)
    with pytest.raises(UserError, match="drawn with a base model, and there is none"):
        compare(Comparison(LEFT, RIGHT), None, tmp_path)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ('label,left,right\nPrice,1,2\n"Size, cm",3,4\n', "utf-8-sig"),
        ("Price;1;2\nSize, cm;3;4", "utf-8"),
        ("Price\t1\t2\r\nSize, cm\t3\t4\r\n", "utf-16"),
    ],
)
def test_specifications_are_read_in_any_dialect(tmp_path, content, encoding):
    path = tmp_path / "specs.csv"
    path.write_bytes(content.encode(encoding))
    assert specifications.read(path) == (Specification("Price", "1", "2"), Specification("Size, cm", "3", "4"))


def test_a_row_with_too_few_fields_is_named(tmp_path):
    path = tmp_path / "specs.csv"
    path.write_text("Price,1,2\nSize,3\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"specs\.csv, line 2: this row has 2 fields; write three"):
        specifications.read(path)


def test_the_command_draws_and_ends_with_json(tmp_path, capsys):
    model = models.write_checkpoint(tmp_path / "model.safetensors", "sd1")
    out = tmp_path / "out"
    arguments = ["--left", "a shoe", "--right", "a bag", "--right-name", "Bag", "--weights", "0.5,1", "--size", "64"]
    assert catalogue_compare.main([*arguments, "--steps", "1", "--base-model", str(model), "--out", str(out)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert Path(result["card"]).is_file() and len(result["frames"]) == 2 and result["best"] in result["frames"]
    assert [Path(path).name for path in result["pictures"]] == ["left.png", "right.png"]


def test_the_command_needs_no_model_for_photos(tmp_path, capsys):
    for name in ("mine", "yours"):
        plain(RED).save(tmp_path / f"{name}.png")
    arguments = [
        "--left",
        "Mine",
        "--left-photo",
        str(tmp_path / "mine.png"),
        "--right",
        "Yours",
        "--out",
        str(tmp_path),
    ]
    assert catalogue_compare.main([*arguments, "--right-photo", str(tmp_path / "yours.png"), "--layout", "tall"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["frames"] == []
    assert catalogue_compare.main(arguments) == 2
    assert "name it with --base-model FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "file", "weight"),
    [("a.safetensors", "a.safetensors", 1.0), ("a.safetensors:0.8", "a.safetensors", 0.8), ("C:\\a:b", "C:\\a:b", 1.0)],
)
def test_a_lora_with_its_weight(text, file, weight):
    assert catalogue_compare._lora(text) == WeightedLora(Path(file), weight)
