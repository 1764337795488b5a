"""The product stays the product: cut out, placed, put back to the pixel, without a seam."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lora_scripts_ext.contract import DrawRequest
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.keeping import flood
from lora_scripts_ext.keeping.cutout import Cutout, cut_out
from lora_scripts_ext.keeping.light import Light, estimate
from lora_scripts_ext.keeping.placing import Placement, place
from lora_scripts_ext.keeping.put_back import put_back
from lora_scripts_ext.keeping.scene import joined, kept, plan
from lora_scripts_ext.keeping.seam import seam
from lora_scripts_ext.keeping.shadow import coverage, thrown

from . import segmentation_model
from .segmentation_model import needs_rembg

SIDE = 120
BOX = (35, 25, 85, 95)


def texture(width, height, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def disc(soft=0.0):
    """Alpha of an ellipse in a photo."""
    alpha = Image.new("L", (SIDE, SIDE), 0)
    ImageDraw.Draw(alpha).ellipse(BOX, fill=255)
    return alpha.filter(ImageFilter.GaussianBlur(soft)) if soft else alpha


def photo(background=(255, 255, 255), soft=0.0):
    """A dark textured ellipse before a plain background."""
    product = texture(SIDE, SIDE).point([value // 3 for value in range(256)] * 3)
    return Image.composite(product, Image.new("RGB", (SIDE, SIDE), background), disc(soft))


@pytest.fixture
def cutout(tmp_path):
    transparent = texture(SIDE, SIDE).point([value // 3 for value in range(256)] * 3)
    transparent.putalpha(disc(1.0))
    transparent.save(tmp_path / "photo.png")
    return cut_out(tmp_path / "photo.png")


def scene(width=96, height=80, seed=5):
    """A smooth bright scene, lit from the right."""
    across = np.linspace(90, 220, width)[None, :, None] * np.ones((height, 1, 3))
    return Image.fromarray((across * [1.0, 0.9, 0.7]).astype(np.uint8))


# Cutting out


def test_transparency_is_the_mask_and_its_colours_are_the_products(tmp_path, cutout):
    assert cutout.source == "alpha"
    assert np.array_equal(np.asarray(cutout.mask) > 0, np.asarray(disc(1.0)) >= 128)
    own = np.asarray(texture(SIDE, SIDE)) // 3
    solid = np.asarray(disc(1.0)) == 255
    assert np.array_equal(np.asarray(cutout.pixels)[solid], own[solid])
    # What a reader has laid on white comes off again.
    half = (np.asarray(disc(1.0)) > 100) & ~solid
    assert np.abs(np.asarray(cutout.pixels)[half].astype(int) - own[half]).max() <= 2


def test_a_mask_file(tmp_path):
    photo().save(tmp_path / "photo.png")
    disc().save(tmp_path / "mask.png")
    found = cut_out(tmp_path / "photo.png", tmp_path / "mask.png")
    assert found.source == "mask" and found.mask.tobytes() == disc().tobytes()
    assert found.pixels.tobytes() == photo().tobytes()
    white = np.asarray(found.on_white())
    assert (white[np.asarray(disc()) == 0] == 255).all()


def test_a_plain_white_background_is_found(tmp_path):
    photo((250, 251, 249)).save(tmp_path / "photo.png")
    found = cut_out(tmp_path / "photo.png")
    assert found.source == "background"
    wrong = (np.asarray(found.mask) > 0) != (np.asarray(disc()) > 0)
    assert wrong.mean() < 0.001


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.asarray(photo((120, 120, 120))),
        lambda: np.asarray(texture(SIDE, SIDE)),
        lambda: np.full((SIDE, SIDE, 3), 250, np.uint8),
        # A shadow that fades into the background.
        lambda: np.asarray(
            Image.composite(
                Image.new("RGB", (SIDE, SIDE), (200, 200, 200)),
                photo(),
                Image.fromarray(np.asarray(disc().filter(ImageFilter.GaussianBlur(12)))),
            )
        ),
        # A white product.
        lambda: np.asarray(Image.composite(Image.new("RGB", (SIDE, SIDE), (246, 246, 246)), photo(), disc())),
    ],
)
def test_an_ambiguous_background_is_left_alone(make):
    assert flood.product_mask(make()) is None


def test_a_hole_that_the_border_does_not_reach_is_product():
    free = np.array([list(row) for row in ["......", ".####.", ".#..#.", ".####.", "...#.."]]) == "."
    expected = np.array([list(row) for row in ["......", ".####.", ".####.", ".####.", "...#.."]]) == "."
    assert np.array_equal(flood.reached(free), expected)


def test_a_fill_follows_a_spiral():
    side = 41
    wall = np.zeros((side, side), bool)
    for ring in range(1, side // 2, 2):
        wall[ring, ring:-ring] = wall[-ring - 1, ring:-ring] = True
        wall[ring:-ring, ring] = wall[ring:-ring, -ring - 1] = True
        # Each ring has its gap at another corner.
        wall[(ring + 1, ring) if ring % 4 == 1 else (-ring - 2, -ring - 1)] = False
    assert np.array_equal(flood.reached(~wall), ~wall)


@pytest.mark.parametrize(
    ("model", "sentence"), [("bria-rmbg", "CC BY-NC 4.0, which forbids commercial use"), ("sam", "is not known here")]
)
def test_models_that_a_shop_may_not_use(tmp_path, model, sentence):
    photo().save(tmp_path / "photo.png")
    with pytest.raises(UserError, match=sentence):
        cut_out(tmp_path / "photo.png", model=model)


def test_without_rembg_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rembg", None)
    photo((120, 120, 120)).save(tmp_path / "photo.png")
    with pytest.raises(UserError, match=r"not plain white.*pip install rembg"):
        cut_out(tmp_path / "photo.png")


@needs_rembg
def test_a_model_finds_the_product_before_any_background_and_is_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "models"))
    # Whatever asks for an address is refused here.
    monkeypatch.setattr("socket.getaddrinfo", None)
    photo((160, 160, 160)).save(tmp_path / "photo.png")
    with pytest.raises(UserError, match=r"not plain white.*isnet-general-use\.onnx is not on this machine"):
        cut_out(tmp_path / "photo.png")
    segmentation_model.write(tmp_path / "models")
    found = cut_out(tmp_path / "photo.png")
    assert found.source == "model"
    wrong = np.asarray(found.mask) != np.asarray(disc())
    assert wrong.mean() < 0.02, "only where it has an edge"


@needs_rembg
def test_a_model_that_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    (tmp_path / "isnet-general-use.onnx").write_bytes(b"weights")
    photo((160, 160, 160)).save(tmp_path / "photo.png")
    with pytest.raises(UserError, match=r"isnet-general-use\.onnx: this model of rembg's cannot be read"):
        cut_out(tmp_path / "photo.png")


@needs_rembg
def test_finding_a_product_leaves_the_number_of_threads(tmp_path):
    """numba sets it when rembg is imported, and so an image drawn in the same process would be rounded otherwise."""
    segmentation_model.write(tmp_path / "home")
    program = """
from PIL import Image
from lora_scripts_ext import threads
from lora_scripts_ext.keeping import segmentation
assert threads.take(1)
segmentation.alpha(Image.new("RGB", (8, 8)))
print(threads.count())
"""
    environment = {**os.environ, "U2NET_HOME": str(tmp_path / "home")}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["1"]


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (Image.new("L", (8, 8), 255), "mask has 8 x 8 pixels, its photo photo.png has 120 x 120"),
        (Image.new("L", (SIDE, SIDE), 0), "there is no product in it"),
    ],
)
def test_masks_that_do_not_fit(tmp_path, mask, sentence):
    photo().save(tmp_path / "photo.png")
    mask.save(tmp_path / "mask.png")
    with pytest.raises(UserError, match=sentence):
        cut_out(tmp_path / "photo.png", tmp_path / "mask.png")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"none.png: this photo cannot be read"):
        cut_out(tmp_path / "none.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"bad.png: this photo"):
        cut_out(tmp_path / "bad.png")


# Placing


def test_a_product_is_placed_where_it_is_asked_for(cutout):
    placed = place(cutout, 200, 160, Placement(share=0.5, across=0.25, down=0.9))
    left, top, right, bottom = placed.mask.getbbox()
    assert abs((bottom - top) - 80) <= 2 and abs(bottom - 144) <= 1
    assert abs((left + right) / 2 - 50) <= 1
    # The ellipse's own proportions.
    assert (right - left) / (bottom - top) == pytest.approx(50 / 70, rel=0.06)


def test_at_its_own_size_every_pixel_is_the_photos(cutout):
    box = cutout.mask.getbbox()
    haze = cutout.alpha.point([255 * (value >= 16) for value in range(256)]).getbbox()
    share = (haze[3] - haze[1]) / SIDE
    placed = place(
        cutout, SIDE, SIDE, Placement(share=share, down=haze[3] / SIDE, across=(haze[0] + haze[2]) / 2 / SIDE)
    )
    assert placed.mask.getbbox() == box
    inside = np.asarray(cutout.mask) > 0
    assert np.array_equal(np.asarray(placed.pixels)[inside], np.asarray(cutout.pixels)[inside])


@pytest.mark.parametrize(
    ("placement", "sentence"),
    [
        (Placement(share=0.9, across=0.2), "would leave the frame"),
        (Placement(share=0.5, down=0.3), "would leave the frame"),
        (Placement(share=0), "give numbers from 0 to 1"),
        (Placement(across=1.5), "give numbers from 0 to 1"),
    ],
)
def test_a_product_stays_whole(cutout, placement, sentence):
    with pytest.raises(UserError, match=sentence):
        place(cutout, 100, 100, placement)


def test_the_old_background_does_not_come_along(tmp_path):
    """A dark product cut out of a white photo has no bright edge, at any size."""
    photo().save(tmp_path / "photo.png")
    found = cut_out(tmp_path / "photo.png")
    for side in (60, SIDE, 240):
        placed = place(found, side, side)
        seen = np.asarray(placed.alpha) > 0
        assert np.asarray(placed.pixels)[seen].max() < 130


# Light and shadow


def test_the_side_of_the_light_is_estimated():
    empty = Image.new("L", (96, 80), 0)
    assert estimate(scene(), empty).across > 0.5
    assert estimate(scene().transpose(Image.Transpose.FLIP_LEFT_RIGHT), empty).across < -0.5
    flat = estimate(Image.new("RGB", (96, 80), (200, 180, 140)), empty)
    assert abs(flat.across) < 1e-6 and flat.contrast < 1e-6
    assert flat.colour == pytest.approx((1, 0.9, 0.7), abs=0.01)


def test_what_is_product_does_not_count_as_light():
    picture, mask = scene(), Image.new("L", (96, 80), 0)
    picture.paste((255, 255, 255), (0, 0, 40, 80))
    mask.paste(255, (0, 0, 40, 80))
    assert estimate(picture, mask).across > 0.3


def test_the_shadow_is_under_the_product_away_from_the_light(cutout):
    placed = place(cutout, 160, 160)
    left, _, right, bottom = placed.mask.getbbox()
    middle = (left + right) // 2
    shades = {across: coverage(placed.mask, Light(across, 0.5, 0.5, (1, 1, 1))) for across in (-1, 0, 1)}
    for shade in shades.values():
        assert shade[bottom, middle] > 0.4 and shade[: bottom - 40].max() < 0.05
    centres = {across: (shade.sum(axis=0) * np.arange(160)).sum() / shade.sum() for across, shade in shades.items()}
    assert centres[1] < centres[0] - 1 < centres[-1] - 2


def test_a_shadow_only_darkens(cutout):
    placed = place(cutout, 96, 80)
    before, after = np.asarray(scene()).astype(int), np.asarray(thrown(scene(), placed, estimate(scene(), placed.mask)))
    assert (after <= before).all() and (after < before).any()


# Putting back


@pytest.mark.parametrize("shadow", [True, False])
def test_inside_the_mask_the_pixels_are_the_photos(cutout, shadow):
    placed = place(cutout, 96, 80)
    result = joined(texture(96, 80, 9), placed, shadow)
    inside = np.asarray(placed.mask) > 0
    assert inside.sum() > 500
    assert np.array_equal(np.asarray(result)[inside], np.asarray(placed.pixels)[inside])


def test_far_from_the_product_the_scene_is_as_drawn(cutout):
    placed = place(cutout, 96, 80)
    result = put_back(scene(), placed)
    outside = np.asarray(placed.alpha) == 0
    assert np.array_equal(np.asarray(result)[outside], np.asarray(scene())[outside])


def test_no_seam_where_it_is_put_back_and_one_where_it_is_pasted(cutout, tmp_path):
    placed = place(cutout, 96, 80)
    assert seam(put_back(scene(), placed), placed) <= 1.25
    hard = Image.composite(placed.pixels, scene(), placed.mask)
    assert seam(hard, placed) > 2
    # The white of an old background around it.
    halo = placed.mask.filter(ImageFilter.MaxFilter(3))
    white = Image.composite(Image.new("RGB", (96, 80), "white"), scene(), halo)
    assert seam(Image.composite(placed.pixels, white, placed.mask), placed) > 2


@pytest.mark.parametrize("side", [60, SIDE, 200])
def test_no_seam_from_a_white_photo_in_a_dark_scene(tmp_path, side):
    photo().save(tmp_path / "photo.png")
    placed = place(cut_out(tmp_path / "photo.png"), side, side)
    dark = scene(side, side).point([value // 2 for value in range(256)] * 3)
    assert seam(joined(dark, placed), placed) <= 1.25


# The whole


class FakeDrawer:
    """Draws one colour a seed where it may, as a host does."""

    def draw(self, request):
        self.request = request
        kept = request.inpainting
        grounds = [Image.new("RGB", (request.width, request.height), (seed, 90, 200)) for seed in request.seeds]
        return [Image.composite(ground, kept.image, kept.mask) for ground in grounds]


def test_scenes_are_drawn_around_the_product(cutout):
    drawer = FakeDrawer()
    request = DrawRequest("on a beach", "", (10, 200), 96, 80, 4, 7.0, "Euler")
    images = kept(drawer, request, cutout)
    placed = place(cutout, 96, 80)
    inside = np.asarray(placed.mask) > 0
    for seed, image in zip((10, 200), images, strict=True):
        assert np.array_equal(np.asarray(image)[inside], np.asarray(placed.pixels)[inside])
        assert image.getpixel((2, 2)) == (seed, 90, 200)
        assert seam(image, placed) <= 1.25
    assert drawer.request.prompt == "on a beach" and drawer.request.inpainting.denoising_strength == 1.0


def test_the_plan_draws_all_but_the_inside(cutout):
    placed = place(cutout, 96, 80)
    made = plan(placed)
    mask, product = np.asarray(made.mask), np.asarray(placed.mask)
    assert (mask[product == 0] > 128).all() and mask[0, 0] == 255
    assert mask.min() == 0 and (product[mask == 0] == 255).all()
    # The old background is not what is started from.
    assert made.image.getpixel((0, 0)) == (200, 200, 200)


def test_a_photo_and_its_mask_by_path(tmp_path):
    photo().save(tmp_path / "photo.png")
    disc().save(tmp_path / "mask.png")
    request = DrawRequest("", "", (1,), 64, 64, 4, 7.0, "Euler")
    images = kept(FakeDrawer(), request, tmp_path / "photo.png", tmp_path / "mask.png", Placement(share=0.4))
    assert images[0].size == (64, 64)
    assert isinstance(cut_out(tmp_path / "photo.png", tmp_path / "mask.png"), Cutout)
