"""Captions written into people's own files: the fields concerned change, every other byte stays."""

import json

import pytest
from PIL import Image

from lora_scripts_ext.captioning import choose
from lora_scripts_ext.captioning.base import CaptionerOptions
from lora_scripts_ext.captioning.label import label
from lora_scripts_ext.captions import editing
from lora_scripts_ext.captions.store import CaptionStore
from lora_scripts_ext.commands.auto_label import main as auto_label
from lora_scripts_ext.commands.check_dataset import main as check_dataset
from lora_scripts_ext.commands.prepare_dataset import main as prepare_dataset
from lora_scripts_ext.errors import UserError


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "in"
    home.mkdir()
    for name in ("a.png", "b.png", "new.png"):
        Image.new("RGB", (20, 20)).save(home / name)
    return home


def written(folder, content, name="metadata.csv", **captions):
    """The file's bytes after new captions; ``a`` stands for ``a.png``."""
    (folder / name).write_bytes(content)
    store = CaptionStore.open(folder)
    for stem, caption in captions.items():
        store.put(f"{stem}.png", caption)
    store.save()
    again = CaptionStore.open(folder)
    for stem, caption in captions.items():
        assert again.entry(f"{stem}.png").prompt == caption
    return (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'filename,prompt,rating\na.png,"red shoe",5\nb.png,old,"4"\n',
         b'filename,prompt,rating\na.png,"new, one",5\nb.png,old,"4"\nnew.png,third,\n'),
        (b'rating;"Caption";File Name\r\n5;red;"a.png"\r\n\r\n4;old;"b.png"\r\n# x;;\r\n',
         b'rating;"Caption";File Name\r\n5;new, one;"a.png"\r\n\r\n4;old;"b.png"\r\n# x;;\r\n;third;new.png\r\n'),
        (b"\xef\xbb\xbf,file_name,text\n0,a.png,red\n1,b.png,old",
         b'\xef\xbb\xbf,file_name,text\n0,a.png,"new, one"\n1,b.png,old\n2,new.png,third\n'),
        (b"a.png,red, dress\nb.png,say \"hi\", old\n", b'a.png,"new, one"\nb.png,say "hi", old\nnew.png,third\n'),
        (b'filename,prompt\na.png,"red shoe",5\nb.png,x\n',
         b'filename,prompt\na.png,"new, one",5\nb.png,x\nnew.png,third\n'),
        (b'"filename","prompt"\n"a.png","red"\n"b.png","x"\n',
         b'"filename","prompt"\n"a.png","new, one"\n"b.png","x"\n"new.png","third"\n'),
        (b"file\ttags\tnote\na.png\nb.png\told\t\"two\nlines\"\n",
         b"file\ttags\tnote\na.png\tnew, one\nb.png\told\t\"two\nlines\"\nnew.png\tthird\t\n"),
        (b"filename,prompt\na.png,one\na.png,two\nb.png,x\n",
         b'filename,prompt\na.png,one\na.png,"new, one"\nb.png,x\nnew.png,third\n'),
        (b"filename,prompt\nC:\\x\\A.PNG,one\nb.png,x\n",
         b'filename,prompt\nC:\\x\\A.PNG,"new, one"\nb.png,x\nnew.png,third\n'),
        (b"sep=;\nfilename;prompt\na.png;one\n", b"sep=;\nfilename;prompt\na.png;new, one\nnew.png;third\n"),
        (b"", b'filename,prompt\na.png,"new, one"\nnew.png,third\n'),
        (b"filename,prompt,x", b'filename,prompt,x\na.png,"new, one",\nnew.png,third,\n'),
        ("文件名,描述,价格\r\na.png,红色连衣裙,5\r\nb.png,蓝牙耳机,6\r\n".encode("gbk"),
         '文件名,描述,价格\r\na.png,"new, one",5\r\nb.png,蓝牙耳机,6\r\nnew.png,third,\r\n'.encode("gbk")),
        ("filename,prompt\na.png,Müller\n".encode("utf-16"),
         'filename,prompt\na.png,"new, one"\nnew.png,third\n'.encode("utf-16")),
    ],
)  # fmt: skip
def test_only_the_captions_change(folder, before, after):
    assert written(folder, before, a="new, one", new="third") == after


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("metadata.jsonl",
         b'{"file_name":"a.png",  "text":"red", "n": 1.50}\r\n{"file_name": "b.png", "text": "\\u00fc"}',
         b'{"file_name":"a.png",  "text":"new, one", "n": 1.50}\r\n{"file_name": "b.png", "text": "\\u00fc"}\r\n'
         b'{"file_name": "new.png", "text": "third"}\r\n'),
        ("metadata.jsonl", b'{"image": "a.png", "id": 1}\n{"image": "b.png", "prompt": "x"}\n',
         b'{"image": "a.png", "id": 1, "prompt": "new, one"}\n{"image": "b.png", "prompt": "x"}\n'
         b'{"image": "new.png", "prompt": "third"}\n'),
        ("metadata.json", b'[{"file": "a.png", "tags": ["red"]}\n]\n',
         b'[{"file": "a.png", "tags": ["new", "one"]}, {"file": "new.png", "tags": "third"}\n]\n'),
        ("meta_cap.json", b'{\n  "a": {\n    "caption": "red",\n'
         b'    "tags": "one", "train_resolution": [512, 512]\n  },\n  "b": {}\n}\n',
         b'{\n  "a": {\n    "caption": "new",\n    "tags": "one", "train_resolution": [512, 512]\n  },\n'
         b'  "b": {},\n'
         b'  "new": {"caption": "third"}\n}\n'),
        ("meta_cap.json", b'{"a.png": {"caption": "red", "tags": "dress"}}',
         b'{"a.png": {"caption": "new, one", "tags": ""}, "new.png": {"caption": "third"}}'),
        ("metadata.json", b'{"a.png": "red"}', b'{"a.png": "new, one", "new.png": "third"}'),
    ],
)  # fmt: skip
def test_only_the_captions_change_in_json(folder, name, before, after):
    assert written(folder, before, name, a="new, one", new="third") == after
    json.loads(after) if name.endswith("json") else [json.loads(line) for line in after.splitlines()]


def test_what_does_not_change_is_not_written(folder):
    path = folder / "metadata.csv"
    path.write_bytes(b"filename,prompt\na.png, red  dress \n")
    before = path.stat().st_mtime_ns, path.stat().st_ino
    store = CaptionStore.open(folder)
    store.save()
    store.put("a.png", "red dress")
    store.save()
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    (folder / "b.txt").write_text("theirs")
    label(folder, CaptionStore.open(folder), choose.make(CaptionerOptions("names")))
    # A text file's caption is not copied into the table, where it would overrule later changes of the text file.
    assert "theirs" not in path.read_text()


def test_an_encoding_without_the_new_characters_is_a_sentence(folder):
    before = "filename,prompt\na.png,红色连衣裙\n".encode("gbk")
    (folder / "metadata.csv").write_bytes(before)
    store = CaptionStore.open(folder)
    store.put("new.png", "shoe 😀")
    with pytest.raises(
        UserError, match=r"it is saved in gbk, which has no '😀' .* save it as UTF-8 .* Nothing was written"
    ):
        store.save()
    assert (folder / "metadata.csv").read_bytes() == before


def test_what_cannot_be_read_is_kept(folder):
    before = "Müller".encode("cp1252")
    (folder / "a.txt").write_bytes(before)
    (folder / "metadata.csv").write_bytes(b"filename,prompt,x\nb.png,red, dress,5\n")
    (folder / "new.png").rename(folder / "red shoe.png")
    store = CaptionStore.open(folder)
    done = label(folder, store, choose.make(CaptionerOptions("names")))
    assert (done.written, done.kept) == (1, 2)
    assert "those of a.png (a.txt: line 1 is neither" in " ".join(store.warnings)
    assert [one.name for one in store.skipped] == ["b.png"]
    label(folder, store, choose.make(CaptionerOptions("names")), overwrite="all")
    store.put("a.png", "new")
    store.save()
    store.write_sidecars()
    assert (folder / "a.txt").read_bytes() == before
    assert CaptionStore.open(folder).entry("a.png").prompt == "new"
    assert CaptionStore.open(folder, encoding="cp1252").entry("a.png").prompt == "new"


def test_a_table_in_another_encoding_is_never_rewritten(folder, capsys):
    before = "filename,prompt\na.png,Müller\n".encode("cp1252")
    (folder / "metadata.csv").write_bytes(before)
    (folder / "b.png").rename(folder / "blue hat.png")
    (folder / "new.png").rename(folder / "naïve shoe.png")
    out = ["--output", str(folder.parent / "ready")]
    for main, more in ((auto_label, []), (check_dataset, []), (prepare_dataset, out)):
        assert main(["--input", str(folder), *more]) == 2
        error = capsys.readouterr().err
        assert "metadata.csv: line 2 is neither UTF-8, UTF-16 nor clearly Chinese GBK; save it as UTF-8" in error
    assert (folder / "metadata.csv").read_bytes() == before
    named = ["--input", str(folder), "--encoding", "cp1252"]
    assert auto_label([*named, "--captioner", "names"]) == 0
    assert json.loads(capsys.readouterr().out)["without_caption"] == 0
    added = "blue hat.png,blue hat\nnaïve shoe.png,naïve shoe\n".encode("cp1252")
    assert (folder / "metadata.csv").read_bytes() == before + added
    assert prepare_dataset([*named, *out]) == 0
    assert CaptionStore.open(folder.parent / "ready").entry("a.png").prompt == "Müller"


def test_the_commands_report_how_many_have_no_caption(folder, capsys):
    (folder / "a.txt").write_bytes("Müller".encode("cp1252"))
    (folder / "b.txt").write_text("blue")
    folder = str(folder)
    assert prepare_dataset(["--input", folder, "--output", folder + "-ready"]) == 0
    captured = capsys.readouterr()
    assert "2 of 3 images have no caption." in captured.err
    assert (
        "warning: Text files that cannot be read are not used; they are those of a.png (a.txt: line 1" in captured.err
    )
    assert json.loads(captured.out)["without_caption"] == 2
    assert check_dataset(["--input", folder]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "captions  2 of 3 images have none" in lines
    assert (json.loads(lines[-1])["without_caption"], len(json.loads(lines[-1])["warnings"])) == (2, 1)


def test_a_caption_is_changed_where_it_is(folder):
    (folder / "sub").mkdir()
    Image.new("RGB", (20, 20)).save(folder / "sub/c.png")
    (folder / "sub/metadata.csv").write_text("filename,prompt\nc.png,old\n")
    before = b"filename,prompt\nsub/c.png,hidden\na.png,x\n"
    assert written(folder, before, a="y") == before.replace(b",x", b",y")
    Image.new("RGB", (20, 20)).save(folder / "sub/d.png")
    store = CaptionStore.open(folder)
    store.put("sub/c.png", "new")
    store.put("sub/d.png", "another")
    store.save()
    assert (folder / "sub/metadata.csv").read_text() == "filename,prompt\nc.png,new\nd.png,another\n"
    assert (folder / "metadata.csv").read_bytes() == before.replace(b",x", b",y")
    store.put("sub/c.png", "")
    store.save()
    assert CaptionStore.open(folder).entry("sub/c.png").prompt == ""


def test_the_tab_writes_as_the_command_does(folder):
    before = b'rating;caption;file\r\n5;"red; shoe";a.png\r\n4;blue;b.png\r\n'
    (folder / "metadata.csv").write_bytes(before)
    store = CaptionStore.open(folder)
    rows = editing.rows(store)
    assert editing.save(store, editing.replaced(rows, "blue", "green")) == 1
    store.save()
    assert (folder / "metadata.csv").read_bytes() == before.replace(b"blue", b"green")


def test_text_files_are_written_under_the_name_they_have(folder):
    (folder / "a.TXT").write_text("")
    store = CaptionStore.open(folder)
    store.put("a.png", "one", by="names")
    store.put("b.png", "two", by="names")
    store.save()
    assert store.write_sidecars() == 2
    assert (folder / "a.TXT").read_text() == "one\n"
    assert (folder / "b.txt").read_text() == "two\n"
    store.put("a.png", "three", by="names")
    assert store.write_sidecars() == 1
    assert (folder / "a.TXT").read_text() == "three\n"
