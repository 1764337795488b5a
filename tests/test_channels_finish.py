"""Candidates finished for a channel: what is in the file, and whether it meets the channel's demands."""

import hashlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lora_scripts_ext import marks
from lora_scripts_ext.channels import channel as channels
from lora_scripts_ext.channels import framing
from lora_scripts_ext.channels.check import problems
from lora_scripts_ext.channels.finish import finish
from lora_scripts_ext.errors import UserError

from . import photos

LABEL = marks.Label("compositeWithTrainedAlgorithmicMedia", "Shop", "sku-1")
LOSSLESS = {
    "title": "Shop", "source": "test", "date": "2026-11", "format": "PNG", "visible_mark": "forbidden", "role": "main",
}  # fmt: skip


def channel_of(**keys):
    return channels.from_dict({**LOSSLESS, **keys}, "shop", "shop.yaml")


def finished(candidate, channel, folder, **options):
    channel = channels.load(channel) if isinstance(channel, str) else channel
    return finish(candidate, channel, label=LABEL, out=folder / "image", **options)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


@pytest.fixture(scope="module")
def scene():
    """1024 x 1024, with a busy background."""
    return photos.photo(3, 1024, busy=True)


@pytest.fixture(scope="module")
def mask():
    """An oval of 440 x 480 pixels with a soft edge, away from the middle."""
    mask = Image.new("L", (1024, 1024))
    ImageDraw.Draw(mask).ellipse((180, 280, 619, 759), fill=255)
    return mask.filter(ImageFilter.GaussianBlur(2))


def product_side(image, frame):
    """The longer extent of what is not white over the frame's."""
    rows, columns = np.nonzero(image.min(axis=-1) < 200)
    return max((rows.max() + 1 - rows.min()) / frame[1], (columns.max() + 1 - columns.min()) / frame[0])


@pytest.mark.parametrize("name", channels.names())
def test_a_candidate_with_a_mask_meets_every_channel(name, scene, mask, tmp_path):
    channel = channels.load(name)
    done = finished(scene, channel, tmp_path, mask=mask, language="en", parameters="Steps: 20")
    assert problems(done.path, channel) == []
    content = done.path.read_bytes()
    assert (done.bytes, done.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    with Image.open(done.path) as image:
        assert (image.format, image.size) == (channel.format, (done.width, done.height))
    found = marks.read(done.path)
    assert (found.sources, found.labels, found.parameters) == ((LABEL.source,), 1, "Steps: 20")


@pytest.mark.parametrize("name", ["amazon-main", "taobao-white", "jd-main"])
def test_a_product_that_fills_its_candidate_keeps_away_from_the_edge(name, scene, tmp_path):
    full = Image.new("L", scene.size)
    ImageDraw.Draw(full).rectangle((2, 2, 1021, 1021), fill=255)
    channel = channels.load(name)
    assert problems(finished(scene, channel, tmp_path, mask=full).path, channel) == []


def test_the_same_candidate_gives_the_same_file(scene, mask, tmp_path):
    first, second = (finished(scene, "taobao-white", tmp_path / side, mask=mask) for side in "ab")
    assert first.sha256 == second.sha256 and first.path.read_bytes() == second.path.read_bytes()


def test_amazon_gets_the_product_on_exact_white_in_its_share(scene, mask, tmp_path):
    done = finished(scene, "amazon-main", tmp_path, mask=mask)
    image = pixels(done.path)
    assert (done.width, done.height) == (1600, 1600) and done.path.name == "image.jpg"
    assert 0.85 <= product_side(image, (1600, 1600)) <= 1
    # The oval is in the middle, and white is white up to the last pixel beyond the blocks of the JPEG at its edge.
    rows, columns = np.nonzero(image.min(axis=-1) < 200)
    for places in (rows, columns):
        assert abs(places.min() + places.max() - 1599) <= 6
    assert (image[:, : columns.min() - 40] == 255).all() and (image[: rows.min() - 40] == 255).all()
    assert done.warnings == ("The image is enlarged 2.9 times for amazon-main; draw it larger to have more detail.",)


def test_a_cut_out_in_its_own_size_keeps_its_pixels_and_has_nothing_else(scene, mask, tmp_path):
    channel = channel_of(size={"exact": [1024, 1024]}, background="white")
    done = finished(scene, channel, tmp_path, mask=mask)
    image, photo, opaque = pixels(done.path), np.asarray(scene).astype(int), np.asarray(mask)
    rows, columns = np.nonzero(opaque >= 128)
    down, across = (round(512 - (places.min() + places.max() + 1) / 2) for places in (rows, columns))
    moved = np.roll(image, (-down, -across), (0, 1))
    assert (moved[opaque == 255] == photo[opaque == 255]).all()
    assert (moved[opaque == 0] == 255).all()
    # Soft edges are blended with white.
    soft = (opaque > 0) & (opaque < 255)
    share = opaque[soft, None] / 255
    assert soft.sum() > 1000
    assert np.abs(moved[soft] - (photo[soft] * share + 255 * (1 - share))).max() <= 1


@pytest.mark.parametrize("side", [500, 2000])
def test_a_scaled_cut_out_has_no_line_around_it(side, scene, mask, tmp_path):
    hard = mask.point(lambda value: 255 if value > 127 else 0)
    channel = channel_of(size={"exact": [side, side]}, background="white")
    image = pixels(finished(Image.new("RGB", scene.size, "black"), channel, tmp_path, mask=hard).path)
    grey = image.min(axis=-1)
    # From inside to outside it only gets lighter: what is nearly white lies at the edge alone.
    middle = grey[side // 2]
    black = np.nonzero(middle < 20)[0]
    reach = 2 + 2 * round(side / 1024)
    assert (middle[: black.min() - reach] == 255).all() and (middle[black.max() + reach + 1 :] == 255).all()
    assert (middle[black.min() : black.max() + 1] == 0).mean() > 0.98


def test_colours_behind_a_cut_out_do_not_reach_its_edge(mask, tmp_path):
    candidate = Image.composite(Image.new("RGB", mask.size, (0, 0, 200)), Image.new("RGB", mask.size, "red"), mask)
    hard = mask.point(lambda value: 255 if value >= 250 else 0)
    channel = channel_of(size={"exact": [400, 400]}, background="white")
    image = pixels(finished(candidate, channel, tmp_path, mask=hard).path)
    # Between blue and white red is never more than green by much.
    assert (image[..., 0] - image[..., 1]).max() <= 8


def test_transparency_is_a_mask_and_can_be_kept(scene, mask, tmp_path):
    cut = scene.copy()
    cut.putalpha(mask)
    on_white = finished(cut, "jd-main", tmp_path)
    assert on_white.sha256 == finished(scene, "jd-main", tmp_path, mask=mask).sha256
    channel = channel_of(size={"exact": [900, 900]}, background="transparent")
    done = finished(cut, channel, tmp_path)
    with Image.open(done.path) as image:
        assert image.mode == "RGBA" and image.getpixel((2, 2))[3] == 0 and image.getpixel((450, 450))[3] == 255
    assert problems(done.path, channel) == []
    with pytest.raises(UserError, match="shop wants the product cut out"):
        finished(scene, channel, tmp_path)


@pytest.mark.parametrize("kind", ["RGBA", "P"])
def test_transparency_is_white_in_a_scene(kind, tmp_path):
    candidate = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    ImageDraw.Draw(candidate).rectangle((40, 40, 59, 59), fill=(0, 0, 255, 255))
    (candidate.quantize(8) if kind == "P" else candidate).save(tmp_path / "candidate.png")
    with Image.open(tmp_path / "candidate.png") as read:
        assert read.mode == kind
        done = finished(read, channel_of(size={"exact": [100, 100]}), tmp_path)
    image = pixels(done.path)
    assert image.shape[-1] == 3 and (image[0, 0] == 255).all() and (image[50, 50] == (0, 0, 255)).all()


def test_a_scene_is_cropped_around_its_product(scene, mask, tmp_path):
    channel = channel_of(size={"exact": [300, 600]})
    box = Image.new("L", scene.size)
    # At the left edge, 400 of 512 pixels wide.
    ImageDraw.Draw(box).rectangle((20, 300, 419, 900), fill=255)
    image = pixels(finished(scene, channel, tmp_path, mask=box).path)
    expected = scene.resize((300, 600), Image.Resampling.LANCZOS, box=(0, 0, 512, 1024))
    assert (image == np.asarray(expected)).all()
    # Without a mask the middle is shown.
    image = pixels(finished(scene, channel, tmp_path).path)
    expected = scene.resize((300, 600), Image.Resampling.LANCZOS, box=(256, 0, 768, 1024))
    assert (image == np.asarray(expected)).all()
    ImageDraw.Draw(box).rectangle((20, 300, 619, 900), fill=255)
    with pytest.raises(UserError, match=r"takes 600 x 601 of 1024 x 1024 .* shop shows, 512 x 1024"):
        finished(scene, channel, tmp_path, mask=box)


def test_a_scene_comes_nearer_where_the_product_is_too_small(scene, mask, tmp_path):
    channel = channel_of(size={"exact": [800, 800]}, product_share={"min": 0.7})
    moved = finished(scene, channel, tmp_path, mask=mask)
    image = np.asarray(Image.open(moved.path).convert("RGB")).astype(int)
    # The mask is seen 480 pixels high, so the window has 480 / 0.71 and the oval's middle, (400, 520), as its own.
    side = 480 / 0.71
    box = (400 - side / 2, 520 - side / 2, 400 + side / 2, 520 + side / 2)
    expected = np.asarray(scene.resize((800, 800), Image.Resampling.LANCZOS, box=box)).astype(int)
    assert np.abs(image - expected).mean() < 4


def test_a_white_image_without_a_mask_is_shown_whole(tmp_path):
    candidate = Image.new("RGB", (400, 200), "white")
    ImageDraw.Draw(candidate).rectangle((100, 50, 299, 149), fill="black")
    channel = channel_of(size={"exact": [200, 200]}, background="white")
    done = finished(candidate, channel, tmp_path)
    image = pixels(done.path)
    rows, columns = np.nonzero(image.max(axis=-1) < 100)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (75, 124, 50, 149) and done.warnings == ()
    assert problems(done.path, channel) == []


def test_a_background_that_is_not_white_is_refused_without_a_mask(scene, tmp_path):
    channel = channel_of(size={"exact": [512, 512]}, background="white")
    with pytest.raises(UserError, match="wants a white background, and this image has another"):
        finished(scene, channel, tmp_path)
    assert list(tmp_path.iterdir()) == []
    scene.resize((512, 512)).save(tmp_path / "scene.jpg")
    assert any("pixels of the background are not white" in one for one in problems(tmp_path / "scene.jpg", channel))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("amazon-main", (1024, 1024)), ("social-landscape", (1408, 768)), ("taobao-3-4", (896, 1152)),
     ("detail-page", (1024, 1024))],
)  # fmt: skip
def test_a_candidate_is_drawn_in_the_proportions_of_its_channel(name, expected):
    # 896 x 1152 is SDXL's own size for 3:4.
    assert framing.drawn_size(channels.load(name), 1024, 64) == expected


@pytest.mark.parametrize(
    ("size", "candidate", "expected"),
    [
        ({"width": 750}, (1000, 400), (750, 300)),
        ({"min": [800, 800]}, (1000, 900), (1000, 900)),
        ({"min": [800, 800]}, (1000, 400), (2000, 800)),
        ({"min": [800, 800], "max": [1500, 1500]}, (3000, 2000), (1500, 1000)),
    ],
)
def test_sizes_follow_the_candidate_where_the_channel_lets_them(size, candidate, expected, tmp_path):
    done = finished(Image.new("RGB", candidate, "gray"), channel_of(size=size), tmp_path)
    assert (done.width, done.height) == expected


def test_a_crop_by_hand_counts(scene, mask, tmp_path):
    channel = channel_of(size={"width": 100})
    image = pixels(finished(scene, channel, tmp_path, crop=(10, 20, 110, 220)).path)
    assert (image == np.asarray(scene)[20:220, 10:110]).all()
    with pytest.raises(UserError, match="crop: 0, 0, 1025, 10 does not lie within 1024 x 1024"):
        finished(scene, channel, tmp_path, crop=(0, 0, 1025, 10))


def test_a_file_is_as_good_as_its_weight_allows(scene, tmp_path):
    heavy = Image.effect_noise((800, 800), 90).convert("RGB")
    limits = {"min": 100, "max": 300}
    channel = channel_of(size={"exact": [800, 800]}, format="JPEG", quality={"min": 10, "max": 95}, weight_kb=limits)
    done = finished(heavy, channel, tmp_path)
    assert 102_400 <= done.bytes <= 300_000
    with Image.open(done.path) as image:
        tables = image.quantization
    better = next(quality for quality in range(10, 96) if tables_of(quality) == tables) + 1
    assert len(marks.encode(heavy, "JPEG", label=LABEL, quality=better)) > 300_000
    # What is light enough at the best quality has it.
    with Image.open(finished(scene.resize((80, 80)), "taobao-main", tmp_path).path) as image:
        assert image.quantization == tables_of(95)


def tables_of(quality):
    out = BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG", quality=quality)
    with Image.open(out) as image:
        return image.quantization


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"format": "JPEG", "weight_kb": {"max": 3}}, r"weighs \d+ kB at least, .* allows 3; .* lower quality: min"),
        ({"format": "PNG", "weight_kb": {"max": 3}}, r"allows 3; .* let its file say format: JPEG"),
        ({"format": "WEBP", "weight_kb": {"min": 9000}}, r"weighs \d+ kB at most, .* at least 9000"),
    ],
)
def test_a_weight_that_cannot_be_had_is_named_and_nothing_is_written(keys, sentence, scene, tmp_path):
    with pytest.raises(UserError, match=sentence):
        finished(scene, channel_of(size={"exact": [400, 400]}, **keys), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_visible_mark_is_drawn_where_it_is_wanted(scene, tmp_path):
    channel = channel_of(size={"exact": [800, 800]})
    without = pixels(finished(scene, channel, tmp_path).path)
    drawn = pixels(finished(scene, channel, tmp_path, mark=True).path)
    rows, columns = np.nonzero((without != drawn).any(axis=-1))
    assert rows.min() > 690 and columns.min() > 380 and (drawn[rows, columns] == 255).any()
    required = channel_of(size={"exact": [800, 800]}, visible_mark="required")
    assert (pixels(finished(scene, required, tmp_path).path) == drawn).all()
    assert (pixels(finished(scene, required, tmp_path, mark=False).path) == without).all()


def test_a_product_at_the_edge_is_named(scene, tmp_path):
    box = Image.new("L", scene.size)
    ImageDraw.Draw(box).rectangle((0, 300, 419, 900), fill=255)
    done = finished(scene, channel_of(size={"exact": [512, 512]}, background="white"), tmp_path, mask=box)
    assert done.warnings == ("The product reaches the edge of the image and may be cut off; look at it.",)


def test_a_mask_that_does_not_fit_is_named(scene, tmp_path):
    for wrong, sentence in (
        (Image.new("L", (10, 10), 255), "mask: it has 10 x 10 pixels and the image 1024 x 1024"),
        (Image.new("L", scene.size), "black everywhere"),
    ):
        with pytest.raises(UserError, match=sentence):
            finished(scene, "taobao-white", tmp_path, mask=wrong)


def test_the_extension_is_that_of_the_format(scene, tmp_path):
    channel = channels.load("taobao-main")
    for written, expected in (("a.jpeg", "a.jpeg"), ("a.JPG", "a.JPG"), ("a.png", "a.png.jpg"), ("v1.5", "v1.5.jpg")):
        assert finish(scene, channel, label=LABEL, out=tmp_path / written).path.name == expected


def test_what_a_file_lacks_is_named(scene, tmp_path):
    path = tmp_path / "a.png"
    scene.resize((700, 900)).save(path)
    found = problems(path, channels.load("taobao-white"))
    for sentence in (
        "The format is PNG, taobao-white wants JPEG.",
        "has 700 x 900 pixels, taobao-white wants 800 x 800.",
        "kB, taobao-white wants 38 to 300.",
        "pixels of the background are not white",
        "no digital source type",
        "0 labels of GB 45438-2025",
    ):
        assert sum(sentence in one for one in found) == 1, sentence
    small = Image.new("L", (700, 900))
    ImageDraw.Draw(small).rectangle((300, 300, 400, 400), fill=255)
    assert "The product takes 14% of the image, amazon-main wants 85% to 100%." in problems(
        path, channels.load("amazon-main"), small
    )
    for name, sentence in (("detail-page", "a width of 750"), ("shopify", "at least 2048 x 2048")):
        assert any(sentence in one for one in problems(path, channels.load(name)))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"a\.png: the image cannot be read"):
        problems(path, channels.load("shopify"))


def test_a_grey_spot_far_from_the_product_is_found(scene, mask, tmp_path):
    channel = channels.load("taobao-white")
    done = finished(scene, channel, tmp_path, mask=mask)
    with Image.open(done.path) as image:
        spoilt = image.convert("RGB")
    frame = Image.new("L", spoilt.size)
    ImageDraw.Draw(frame).ellipse((200, 150, 600, 650), fill=255)
    ImageDraw.Draw(spoilt).rectangle((40, 40, 47, 47), fill=(250, 250, 250))
    marks.write(spoilt, done.path, "JPEG", label=LABEL, quality=95)
    assert problems(done.path, channel) == []
    found = problems(done.path, channel, frame)
    assert found and "pixels of the background are not white" in found[0]
