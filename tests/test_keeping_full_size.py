"""A kept product in a larger image than its scene was drawn in: the photo's detail, and nothing of the small one."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lora_scripts_ext.keeping.cutout import Cutout
from lora_scripts_ext.keeping.full_size import enlarged
from lora_scripts_ext.keeping.placing import Placement, place
from lora_scripts_ext.keeping.scene import joined
from lora_scripts_ext.keeping.seam import seam

SMALL, TIMES = 35, 4
HALF = Placement(share=0.5)


@pytest.fixture(scope="module")
def cutout():
    """Dark noise within a soft ellipse, 50 x 70 pixels: at 140 x 140 it fills half of the frame at its own size."""
    noise = np.random.default_rng(3).integers(0, 90, (90, 80, 3), dtype=np.uint8)
    alpha = Image.new("L", (80, 90), 0)
    ImageDraw.Draw(alpha).ellipse((16, 11, 63, 78), fill=255)
    return Cutout(Image.fromarray(noise), alpha.filter(ImageFilter.GaussianBlur(0.7)), "alpha")


def before(cutout, ground, **options):
    """The small image of the product before this ground."""
    return joined(ground, place(cutout, *ground.size, HALF), **options)


def test_the_products_pixels_are_the_photos_where_that_is_as_large(cutout):
    image, times = enlarged(before(cutout, Image.new("RGB", (SMALL, SMALL), "white")), cutout, TIMES, HALF)
    assert (image.size, times) == ((SMALL * TIMES, SMALL * TIMES), TIMES)
    placed = place(cutout, *image.size, HALF)
    left, top, right, bottom = placed.mask.getbbox()
    inside = np.asarray(placed.mask) > 0
    photo = np.asarray(cutout.pixels)[11 : 11 + bottom - top, 16 : 16 + right - left]
    assert np.array_equal(np.asarray(image)[inside], photo[inside[top:bottom, left:right]])


def test_around_it_is_the_scene_without_a_trace_of_the_small_product(cutout):
    ground = Image.new("RGB", (SMALL, SMALL), (250, 180, 60))
    image, _ = enlarged(before(cutout, ground, shadow=False), cutout, TIMES, HALF)
    outside = np.asarray(place(cutout, *image.size, HALF).alpha) == 0
    assert np.abs(np.asarray(image, int)[outside] - (250, 180, 60)).max() <= 1


def test_no_seam(cutout):
    across = np.linspace(90, 220, SMALL)[None, :, None] * np.ones((SMALL, 1, 3))
    small = before(cutout, Image.fromarray(across.astype(np.uint8)))
    image, _ = enlarged(small, cutout, TIMES, HALF)
    placed = place(cutout, *image.size, HALF)
    assert seam(image, placed) <= 1.25


def test_far_from_the_product_the_scene_is_resampled(cutout):
    ground = Image.fromarray(np.random.default_rng(4).integers(0, 256, (SMALL, SMALL, 3), dtype=np.uint8))
    small = before(cutout, ground)
    image, times = enlarged(small, cutout, 2.2, HALF)
    assert times == 3
    plain = small.resize(image.size, Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(image)[:12], np.asarray(plain)[:12])


@pytest.mark.parametrize(("side", "factor", "times"), [(140, 4, 1), (35, 1.0, 1), (35, 1.2, 2), (35, 9, 4), (70, 9, 2)])
def test_no_larger_than_is_wanted_or_than_the_photo_has_detail(cutout, side, factor, times):
    small = before(cutout, Image.new("RGB", (side, side), "white"))
    image, found = enlarged(small, cutout, factor, HALF)
    assert found == times and image.size == (side * times, side * times)
    assert (image is small) == (times == 1)
