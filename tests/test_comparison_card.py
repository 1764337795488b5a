"""The card that compares two products."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lora_scripts_ext.comparison import card as cards
from lora_scripts_ext.comparison.card import Card, Side, Specification, draw
from lora_scripts_ext.errors import UserError
from lora_scripts_ext.images import fonts

RED, BLUE = (200, 30, 30), (30, 30, 200)


def noise(width, height, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def card(**changes):
    left = Side(Image.new("RGB", (64, 64), RED), "Lumora Phone")
    right = Side(Image.new("RGB", (128, 64), BLUE), "Argilla Phone")
    rows = [Specification("Price", "1,299", "1,499"), Specification("Colour", "black", "Black ")]
    return replace(Card(left, right, rows, "Which one?"), **changes)


def boxes(image, colour):
    """Left, top, right, bottom of all pixels of a colour; None where there are none."""
    same = np.all(np.asarray(image) == colour, axis=-1)
    rows, columns = np.nonzero(same)
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None


def test_wide_has_the_pictures_side_by_side_and_tall_one_below_the_other():
    wide, tall = draw(card()), draw(card(layout="tall"))
    left, right = boxes(wide, RED), boxes(wide, BLUE)
    assert left[2] <= right[0] and left[1] < right[3] and right[1] < left[3]
    upper, lower = boxes(tall, RED), boxes(tall, BLUE)
    assert upper[3] <= lower[1]
    assert wide.width > tall.width and wide.mode == tall.mode == "RGB"


def test_pictures_keep_their_proportions():
    for layout in cards.LAYOUTS:
        left, top, right, bottom = boxes(draw(card(layout=layout)), BLUE)
        assert (right - left) / (bottom - top) == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("layout", cards.LAYOUTS)
@pytest.mark.parametrize("size", [(90, 50), (700, 900)])
def test_a_kept_photo_has_its_very_pixels(layout, size):
    photo = noise(*size)
    drawn = np.asarray(draw(card(left=Side(photo, "yours", kept=True), layout=layout)))
    wanted = np.asarray(photo)
    height, width = wanted.shape[:2]
    first = np.all(drawn[: drawn.shape[0] - height + 1, : drawn.shape[1] - width + 1] == wanted[0, 0], axis=-1)
    places = [(y, x) for y, x in np.argwhere(first) if np.array_equal(drawn[y : y + height, x : x + width], wanted)]
    assert len(places) == 1


def test_two_kept_photos_of_different_sizes():
    both = card(left=Side(noise(90, 50), "a", kept=True), right=Side(noise(400, 300, 1), "b", kept=True))
    assert draw(both).width > 800


def test_transparent_parts_show_the_background():
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    assert boxes(draw(card(left=Side(picture, ""), specifications=(), title="")), (0, 0, 0)) is None


def test_only_rows_that_differ_are_emphasised():
    accent = (11, 92, 173)
    price = draw(card(specifications=[Specification("Price", "1,299", "1,499")]))
    assert boxes(price, accent) is not None
    assert boxes(draw(card(specifications=[Specification("Colour", "black", "Black ")])), accent) is None
    assert not Specification("Size", "10 cm", "10cm").differs and Specification("Size", "", "10 cm").differs


@pytest.mark.parametrize("layout", cards.LAYOUTS)
def test_long_texts_wrap_and_nothing_is_lost(layout, monkeypatch):
    drawn = []
    original = cards.fonts.wrapped

    def recorded(text, chosen, width, most):
        lines = original(text, chosen, width, most)
        assert all(chosen.getlength(line) <= width for line in lines)
        drawn.append((text, lines))
        return lines

    monkeypatch.setattr(cards.fonts, "wrapped", recorded)
    long = "unbelievably-long-" * 20
    draw(card(specifications=[Specification("Battery life, in hours of video", long, "two words")], layout=layout))
    for text, lines in drawn:
        assert "".join("".join(lines).split()) == "".join(text.split())
    assert max(len(lines) for _, lines in drawn) > 3


def test_chinese_is_drawn_with_a_font_that_has_it():
    if not fonts.has_chinese():
        pytest.skip("no Chinese font here")
    text = card(title="比一比", left=Side(Image.new("RGB", (64, 64), RED), "某某手机"))
    assert cards.missing(text) == "" and draw(text).size == draw(text).size


def test_a_system_without_a_chinese_font_is_named(monkeypatch):
    monkeypatch.setattr(fonts, "has_chinese", lambda: False)
    text = card(title="比一比")
    assert "question marks" in cards.missing(text) and "Noto Sans CJK" in cards.missing(text)
    assert draw(text).mode == "RGB"
    assert cards.missing(card()) == ""


def test_an_unknown_layout_is_refused():
    with pytest.raises(UserError, match="layout is 'round'; valid: wide, tall"):
        draw(card(layout="round"))
