"""Buckets, crops and SDXL's size conditioning."""

import math

import numpy as np
import pytest
from PIL import Image

from lora_scripts_ext.config import from_dict
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.images import bucket, decode
from lora_scripts_ext.images.bucket import View


def config(**values):
    return from_dict({"train_data_dir": "in", "base_model": "m", "output_dir": "out", **values})


def test_buckets_of_512():
    grid = bucket.grid(config(), [512], 8)
    assert (512, 512) in grid.sizes and (256, 1024) in grid.sizes and (768, 320) in grid.sizes
    for width, height in grid.sizes:
        assert width % 64 == 0 and height % 64 == 0
        assert min(width, height) >= 256 and max(width, height) <= 1024
        assert width * height <= 512 * 512
        assert (height, width) in grid.sizes


@pytest.mark.parametrize(
    ("size", "expected"),
    [((3000, 3000), (512, 512)), ((1920, 1080), (640, 384)), ((10, 10), (512, 512)), ((100, 9000), (256, 1024))],
)
def test_nearest_aspect_ratio(size, expected):
    assert bucket.grid(config(), [512], 8).choose(size) == expected


def test_portrait_and_landscape_are_treated_alike():
    grid = bucket.grid(config(), [512], 8)
    for width in range(200, 2000, 37):
        assert grid.choose((width, 1000)) == grid.choose((1000, width))[::-1]


def test_the_larger_of_equally_near_buckets():
    assert bucket.Grid(((32, 64), (64, 128)), 32, 8192, 128, upscale=True).choose((100, 200)) == (64, 128)


def test_side_bounds():
    sizes = bucket.grid(config(min_bucket_side=400, max_bucket_side=600), [512], 8).sizes
    assert sorted(sizes) == [(448, 576), (512, 512), (576, 448)]


@pytest.mark.parametrize(("side", "factor"), [(64, 4), (32, 8), (48, 4), (100, 8), (256, 8)])
def test_small_resolution_has_more_than_the_square(side, factor):
    grid = bucket.grid(config(), [side], factor)
    assert grid.step % factor == 0 and len(grid.sizes) >= 3
    assert all(one % grid.step == 0 for size in grid.sizes for one in size)
    width, height = grid.choose((300, 200))
    assert width > height


def test_pocket_buckets():
    assert bucket.grid(config(), [64], 4).step == 16
    assert bucket.grid(config(), [64], 4).choose((900, 500)) == (80, 48)


def test_square_bucket_when_resolution_is_no_multiple():
    assert bucket.grid(config(), [500], 8).choose((700, 700)) == (448, 448)


def test_step_must_fit_the_latent_cells():
    with pytest.raises(UserError, match="bucket_step is 20; it must be a multiple of 8"):
        bucket.grid(config(bucket_step=20), [512], 8)


def test_bounds_that_leave_nothing():
    with pytest.raises(UserError, match="min_bucket_side 600"):
        bucket.grid(config(min_bucket_side=600), [512], 8)


def test_without_buckets_everything_has_one_size():
    grid = bucket.grid(config(enable_bucket=False), [640, 384], 8)
    assert grid.choose((10, 5000)) == (640, 384)
    with pytest.raises(UserError, match="resolution is 500; without buckets it must be a multiple of 8"):
        bucket.grid(config(enable_bucket=False), [500], 8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((300, 200), (256, 192)), ((30, 30), (64, 64)), ((3000, 60), (1024, 64)), ((2000, 2000), (512, 512))],
)
def test_no_upscale(size, expected):
    assert bucket.grid(config(bucket_no_upscale=True), [512], 8).choose(size) == expected


def test_no_upscale_stays_within_the_area():
    grid = bucket.grid(config(bucket_no_upscale=True, bucket_step=8), [512], 8)
    rng = np.random.default_rng(0)
    for width, height in rng.integers(8, 1500, (500, 2)).tolist():
        chosen = grid.choose((width, height))
        assert chosen[0] * chosen[1] <= 512 * 512
        assert chosen[0] <= width and chosen[1] <= height


@pytest.mark.parametrize("size", [(1000, 700), (700, 1000), (64, 64), (5000, 10), (333, 777)])
def test_cover_is_the_smallest_that_covers(size):
    for target in [(512, 512), (256, 1024), (80, 48)]:
        width, height = bucket.cover(size, target)
        scale = max(target[0] / size[0], target[1] / size[1])
        assert (width, height) == (round(size[0] * scale), round(size[1] * scale))
        assert width == target[0] or height == target[1]


def test_center_and_top_crop():
    assert bucket.views(config(), "a.png", (100, 64), (64, 64)) == (View(18, 0, False),)
    assert bucket.views(config(), "a.png", (64, 101), (64, 64)) == (View(0, 18, False),)
    assert bucket.views(config(crop="top"), "a.png", (64, 100), (64, 64)) == (View(0, 0, False),)


def test_flip_doubles_the_views():
    assert [view.flip for view in bucket.views(config(flip=True), "a.png", (64, 64), (64, 64))] == [False, True]


def test_random_crops_are_distinct_bounded_and_repeatable():
    many = config(crop="random", crop_variants=5)
    views = bucket.views(many, "a.png", (1000, 64), (64, 64))
    assert len(set(views)) == len(views) == 5
    assert all(0 <= view.left <= 936 and view.top == 0 for view in views)
    assert views == bucket.views(many, "a.png", (1000, 64), (64, 64))
    assert views != bucket.views(many, "b.png", (1000, 64), (64, 64))
    assert views != bucket.views(config(crop="random", crop_variants=5, seed=1), "a.png", (1000, 64), (64, 64))
    assert len(bucket.views(many, "a.png", (64, 64), (64, 64))) == 1


def test_random_crops_reach_both_edges():
    views = bucket.views(config(crop="random", crop_variants=64), "a.png", (66, 64), (64, 64))
    assert {view.left for view in views} == {0, 1, 2}


def test_time_ids_as_in_diffusers():
    # diffusers: original_size + crop_top_left (of the image mirrored before the crop) + target_size
    plain = bucket.time_ids((1600, 900), (114, 64), (80, 64), View(10, 0, False))
    assert plain == (900, 1600, 0, 10, 64, 80)
    assert bucket.time_ids((1600, 900), (114, 64), (80, 64), View(10, 0, True)) == (900, 1600, 0, 24, 64, 80)


@pytest.mark.parametrize("flip", [False, True])
def test_crop_equals_resize_then_crop(flip):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (90, 200, 3), dtype=np.uint8))
    resized, target = bucket.cover(image.size, (64, 48)), (64, 48)
    view = View(25, 0, flip)
    whole = np.asarray(image.resize(resized, Image.Resampling.LANCZOS))[0:48, 25:89]
    expected = whole[:, ::-1] if flip else whole
    crop = decode.crop(image, resized, target, view, Image.Resampling.LANCZOS)
    assert crop.shape == (48, 64, 3)
    assert np.abs(crop.astype(int) - expected).max() <= 1


def test_tiny_image_is_enlarged_and_panorama_is_cheap():
    tiny = Image.new("RGB", (3, 2), (5, 6, 7))
    resized = bucket.cover(tiny.size, (512, 512))
    assert decode.crop(tiny, resized, (512, 512), View(100, 0, False), Image.Resampling.LANCZOS).max() == 7
    strip = Image.new("RGB", (20_000, 2), (5, 6, 7))
    resized = bucket.cover(strip.size, (256, 256))
    assert math.prod(resized) > 500_000_000
    assert decode.crop(strip, resized, (256, 256), View(1_000_000, 0, False), Image.Resampling.LANCZOS).min() == 5
