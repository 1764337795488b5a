"""The visible mark: how high, where, and how well it can be read."""

import numpy as np
import pytest
from PIL import Image

from lora_scripts_ext.errors import UserError
from lora_scripts_ext.images import fonts
from lora_scripts_ext.marks import visible

BACKGROUNDS = {
    "white": "white", "black": "black", "grey": (119, 119, 119), "red": "red", "green": "lime", "yellow": "yellow",
}  # fmt: skip
chinese = pytest.mark.skipif(not fonts.has_chinese(), reason="this system has no font with Chinese characters")


def luminance(colors):
    """WCAG 2.1: of sRGB colours [..., 3] in 0 to 255."""
    share = np.asarray(colors, dtype=np.float64) / 255
    linear = np.where(share <= 0.03928, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    lighter, darker = np.maximum(one, other), np.minimum(one, other)
    return (lighter + 0.05) / (darker + 0.05)


def changed(before, after):
    """The box that the mark covers: left, top, right, bottom."""
    rows, columns = np.nonzero((np.asarray(before) != np.asarray(after)).any(axis=-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def ink(marked):
    """Where the letters are fully drawn."""
    return (np.asarray(marked) == 255).all(axis=-1)


def noise(size):
    return Image.fromarray(np.random.default_rng(0).integers(0, 250, (size[1], size[0], 3), dtype=np.uint8))


@pytest.mark.parametrize("text", ["AI-generated", pytest.param("AI生成", marks=chinese)])
@pytest.mark.parametrize("size", [(800, 800), (750, 1000), (1200, 630), (256, 256)])
def test_the_letters_have_five_percent_of_the_shorter_side(text, size):
    marked = visible.draw(Image.new("RGB", size, "black"), text)
    # Of the first letter, an A: the columns of ink up to the first gap.
    rows, columns = np.nonzero(np.asarray(marked.convert("L")) > 60)
    gaps = np.nonzero(np.diff(np.unique(columns)) > 1)[0]
    first = columns <= np.unique(columns)[gaps[0]]
    height = rows[first].max() + 1 - rows[first].min()
    assert 0.05 * min(size) <= height <= 0.05 * min(size) + 3


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_the_mark_is_legible_on_every_colour(name):
    before = Image.new("RGB", (400, 400), BACKGROUNDS[name])
    after = visible.draw(before, "AI-generated")
    left, top, right, bottom = changed(before, after) if name != "black" else (280, 370, 390, 390)
    plate = np.asarray(after)[top:bottom, left:right]
    letters = luminance(plate).max()
    behind = np.quantile(luminance(plate), 0.5)
    assert contrast(letters, behind) >= 4.5


def test_the_mark_is_legible_on_a_busy_image():
    before = noise((600, 400))
    after = np.asarray(visible.draw(before, "AI-generated"))
    left, top, right, bottom = changed(before, after)
    letters = ink(after)[top:bottom, left:right]
    assert letters.sum() > 100
    # As bright as what shines through the plate can be: no pixel of the noise is brighter than 249.
    assert contrast(1.0, luminance([249 * 0.4] * 3)) >= 4.5
    behind = luminance(after[top + 2 : top + 6, left + 8 : right - 8])
    assert contrast(1.0, behind).min() >= 4.5


@pytest.mark.parametrize("corner", visible.CORNERS)
@pytest.mark.parametrize("size", [(640, 480), (480, 640)])
def test_the_mark_lies_within_the_image_at_its_corner(corner, size):
    before = Image.new("RGB", size, "white")
    left, top, right, bottom = changed(before, visible.draw(before, "AI-generated", corner))
    assert 0 < left < right < size[0] and 0 < top < bottom < size[1]
    assert (left < size[0] - right) == corner.endswith("left")
    assert (top < size[1] - bottom) == corner.startswith("top")


def test_the_words_are_those_of_the_language():
    assert visible.text("zh-CN", "trainedAlgorithmicMedia") == "AI生成"
    assert visible.text("zh", "compositeWithTrainedAlgorithmicMedia") == "AI 合成"
    assert (
        visible.text("de", "trainedAlgorithmicMedia") == visible.text("en", "trainedAlgorithmicMedia") == "AI-generated"
    )


def test_a_transparent_image_stays_transparent_elsewhere():
    marked = visible.draw(Image.new("RGBA", (300, 300), (0, 0, 0, 0)), "AI-generated")
    alpha = np.asarray(marked)[..., 3]
    assert marked.mode == "RGBA" and alpha[:200].max() == 0 and alpha.max() == 255


def test_the_same_image_is_marked_the_same():
    one, other = (visible.draw(noise((200, 200)), "AI-generated").tobytes() for _ in range(2))
    assert one == other


def test_an_image_without_room_for_the_words_is_named():
    with pytest.raises(UserError, match=r"need \d+ x \d+ pixels, and the image has 24 x 24"):
        visible.draw(Image.new("RGB", (24, 24)), "AI-generated, as the law demands it here")


def test_a_system_without_fonts_is_named(monkeypatch):
    monkeypatch.setattr(fonts, "has_chinese", lambda: False)
    with pytest.raises(UserError, match="no font with Chinese characters"):
        visible.draw(Image.new("RGB", (400, 400)), "AI生成")
    monkeypatch.setattr(fonts, "font", lambda text, size: object())
    with pytest.raises(UserError, match="that can be enlarged"):
        visible.draw(Image.new("RGB", (400, 400)), "AI-generated")
