"""Captions edited in bulk."""

import pytest
from PIL import Image

from lora_scripts_ext.captions import editing
from lora_scripts_ext.captions.editing import Row
from lora_scripts_ext.captions.fields import Fields
from lora_scripts_ext.captions.store import CaptionStore, Entry

CUP = Fields("cup", ("red", "matte"), "on a table", "soft light")


@pytest.fixture
def store(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    captions = CaptionStore.open(tmp_path)
    captions.put("a.png", "cup, red, matte, on a table, soft light", CUP, by="blip")
    captions.put("b.png", "a Red lamp, Red")
    return captions


ROWS = [
    Row("a.png", "cup, red, matte, on a table, soft light", "cup", "red, matte", "on a table", "soft light"),
    Row("b.png", "a Red lamp, Red", "", "", "", ""),
    Row("c.png", "", "", "", "", ""),
]


def test_rows_and_what_they_hold(store):
    assert editing.rows(store) == ROWS
    assert editing.holding(ROWS, "RED") == ROWS[:2]
    assert editing.holding(ROWS, "tag: red") == ROWS[:2]
    assert editing.holding(ROWS, "tag:lamp") == []
    assert editing.holding(ROWS, "none") == ROWS[2:]
    assert editing.holding(ROWS, "") == ROWS


def test_tags_are_counted_once_a_caption():
    assert editing.frequency([Row("x", "red, red, cup", "", "", "", ""), Row("y", "cup", "", "", "", "")]) == [
        ("cup", 2), ("red", 1),
    ]  # fmt: skip


def test_bulk_changes():
    added = editing.with_tag(ROWS, "red")
    assert added == ROWS
    added = editing.with_tag(ROWS, "studio")
    assert added[0].attributes == "red, matte, studio"
    assert [row.caption for row in added] == [ROWS[0].caption + ", studio", "a Red lamp, Red, studio", ""]
    removed = editing.without_tag(ROWS, "RED")
    assert removed[0] == Row("a.png", "cup, matte, on a table, soft light", "cup", "matte", "on a table", "soft light")
    assert removed[1].caption == "a Red lamp"
    replaced = editing.replaced(ROWS, "a", "o")
    assert [row.image for row in replaced] == ["a.png", "b.png", "c.png"]
    assert replaced[0].caption == "cup, red, motte, on o toble, soft light"
    assert replaced[0][2:] == ("cup", "red, motte", "on o toble", "soft light")


def test_saving_joins_fields_and_lets_a_typed_caption_rule(store, tmp_path):
    typed = [
        ROWS[0]._replace(subject="mug"),
        ROWS[1]._replace(caption="my own"),
        ROWS[2],
        ROWS[2]._replace(image="gone.png", caption="x"),
    ]
    assert editing.save(store, typed) == 2
    assert store.entry("a.png").prompt == "mug, red, matte, on a table, soft light"
    assert store.entry("a.png").fields.subject == "mug"
    assert store.entry("b.png") == Entry(Fields(), "my own", "", edited=True)
    store.save()
    again = CaptionStore.open(tmp_path)
    # A captioner does not take back what a person chose.
    assert again.entry("a.png").edited
    assert editing.save(again, [ROWS[0]._replace(caption="typed")]) == 1
    assert again.entry("a.png").prompt == "typed"
    assert editing.save(again, editing.rows(again)) == 0


def test_bulk_changes_keep_fields_in_step(store):
    assert editing.save(store, editing.with_tag(editing.rows(store), "studio")) == 2
    assert store.entry("a.png").fields.attributes == ("red", "matte", "studio")
    assert store.entry("b.png").fields == Fields()
