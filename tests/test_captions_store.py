"""The captions of a folder, against files as other tools leave them."""

import json

import pytest
from PIL import Image

from lora_scripts_ext import config as configs
from lora_scripts_ext.captions.fields import Fields
from lora_scripts_ext.captions.store import CaptionStore, Entry
from lora_scripts_ext.dataset import source
from lora_scripts_ext.errors import UserError

CUP = Fields("cup", ("red", "matte"), "on a table", "soft light")


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), "red").save(folder / name)
    return folder


def trained(folder):
    """The captions that training reads."""
    config = configs.from_dict({"train_data_dir": str(folder), "base_model": "b", "output_dir": str(folder / "out")})
    return {example.name: example.caption for example in source.read(config, [64], 8).examples}


@pytest.mark.parametrize("csv", [None, 'filename,prompt\na.png,"x, y"\nsub/b.png,"say ""hi"""\n', "a.png,x, y\n"])
def test_a_prompt_is_what_training_reads(tmp_path, csv):
    folder = write(tmp_path, "a.png", "sub/b.png", "c.png")
    (folder / "c.txt").write_text("from a\ntext file", encoding="utf-8")
    if csv:
        (folder / "metadata.csv").write_text(csv)
    store = CaptionStore.open(folder)
    assert {name: store.entry(name).prompt for name in store.names} == trained(folder)
    store.put("c.png", "new")
    store.save()
    assert trained(folder)["c.png"] == "new"
    again = CaptionStore.open(folder)
    assert {name: again.entry(name).prompt for name in again.names} == trained(folder)


def test_who_wrote_a_caption_is_known_until_someone_changes_it(tmp_path):
    folder = write(tmp_path, "a.png", "b.png", "c.png")
    store = CaptionStore.open(folder)
    store.put("a.png", "cup, red", CUP, by="blip")
    store.put("b.png", "by hand")
    store.save()
    again = CaptionStore.open(folder)
    assert again.entry("a.png") == Entry(CUP, "cup, red", "blip", edited=False)
    assert again.entry("b.png") == Entry(Fields(), "by hand", "", edited=True)
    assert again.entry("c.png") == Entry()
    csv = folder / "metadata.csv"
    csv.write_text(csv.read_text().replace("cup, red", "teacup, red"))
    assert CaptionStore.open(folder).entry("a.png") == Entry(Fields(), "teacup, red", "", edited=True)


def test_what_other_tools_wrote_stays(tmp_path):
    folder = write(tmp_path, "a.png", "b.png", "c.png")
    table = '\ufefffile_name,source,text,score\nA.PNG,shop,old,1\ngone.png,web,"kept, too",2\nb.png,shop,other,3\n'
    (folder / "metadata.csv").write_text(table, encoding="utf-8")
    store = CaptionStore.open(folder)
    assert [store.entry(name).prompt for name in ("a.png", "b.png", "c.png")] == ["old", "other", ""]
    store.put("a.png", "new, words", CUP, by="names")
    store.put("c.png", "third", CUP, by="names")
    store.save()
    assert (folder / "metadata.csv").read_text(encoding="utf-8") == (
        '\ufefffile_name,source,text,score\nA.PNG,shop,"new, words",1\ngone.png,web,"kept, too",2\nb.png,shop,other,3\n'
        "c.png,,third,\n"
    )
    assert trained(folder) == {"a.png": "new, words", "b.png": "other", "c.png": "third"}


def test_a_csv_outside_the_folder_names_images_so_that_both_ways_read_it(tmp_path):
    folder = write(tmp_path / "set", "a.png")
    path = tmp_path / "metadata.csv"
    store = CaptionStore.open(folder, path)
    store.put("a.png", "cup", CUP, by="names")
    store.save()
    assert path.read_text() == "filename,prompt\nset/a.png,cup\n"
    assert CaptionStore.open(folder, path).entry("a.png").fields == CUP
    assert not (folder / ".lora_trainer").exists()


def test_a_text_file_that_someone_else_wrote_stays(tmp_path):
    folder = write(tmp_path, "a.png", "b.png")
    (folder / "b.txt").write_text("theirs")
    store = CaptionStore.open(folder)
    store.put("a.png", "one", by="names")
    store.put("b.png", "two", by="names")
    store.save()
    assert store.write_sidecars() == 1
    assert ((folder / "a.txt").read_text(), (folder / "b.txt").read_text()) == ("one\n", "theirs")
    store.put("a.png", "three", by="names")
    # It is ours, as the saved fields show.
    assert store.write_sidecars() == 1
    assert (folder / "a.txt").read_text() == "three\n"


def test_damaged_fields_are_a_sentence_and_captions_are_not_lost(tmp_path):
    folder = write(tmp_path, "a.png")
    store = CaptionStore.open(folder)
    store.put("a.png", "cup", CUP, by="names")
    store.save()
    (folder / ".lora_trainer" / "captions.json").write_text(json.dumps({"captions": {"a.png": {"prompt": 1}}}))
    with pytest.raises(UserError, match="this file of caption fields is damaged"):
        CaptionStore.open(folder)
    assert trained(folder) == {"a.png": "cup"}


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    folder = write(tmp_path, "a.png")
    (folder / "metadata.csv").write_text("filename,prompt\na.png,old\n")
    store = CaptionStore.open(folder)
    store.put("a.png", "new")
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(OSError, match="the disk is full"):
        store.save()
    assert (folder / "metadata.csv").read_text() == "filename,prompt\na.png,old\n"
    assert [path.name for path in folder.iterdir() if path.suffix == ".tmp"] == []
